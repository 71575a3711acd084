"""Format names, values, lists and sizes in messages."""

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST_LINE = 800
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60


def printable(name: object) -> str:
    """Return a file name as one line of text that any terminal and UTF-8 file accepts.

    Bytes that are not UTF-8 (Python reads them as surrogates) and control characters, including line breaks, become
    escapes: ``caf\\xe9.jpg``, ``a\\nb.jpg``. The result is only for display; open files by their original name.
    """
    return _ODD.sub(lambda found: _escape(ord(found[0])), str(name))


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # byte that Python could not decode
        return f"\\x{code - 0xDC00:02x}"
    return repr(chr(code))[1:-1]


def shorten(value: Any) -> str:
    """Format a value for a message in at most 60 characters, without formatting large values in full."""
    text = _SHORT.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(items: Iterable[str], limit: int = 10) -> str:
    """Join the first ``limit`` items: ``a, b and 3 more``."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def listed_lines(problems: Mapping[str, str] | Iterable[tuple[str, str]], limit: int = 20) -> str:
    """Join the first ``limit`` problems, an indented line each: ``  name: problem``; the last line counts the rest."""
    pairs = problems.items() if isinstance(problems, Mapping) else problems
    return indented((f"{name}: {problem}" for name, problem in pairs), limit)


def indented(lines: Iterable[str], limit: int = 20) -> str:
    """Join the first ``limit`` lines, indented, and count the rest in a last line. Long lines are cut in the middle."""
    lines = list(lines)
    more = [f"and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(f"  {one_line(line)}" for line in lines[:limit] + more)


def one_line(text: str) -> str:
    """Return a message as one printable line of at most 800 characters; longer messages are cut in the middle."""
    text = printable(text)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 105]} ... {text[-100:]}"


def gib(size: float) -> str:
    """Format a number of bytes as GiB, MiB or KiB."""
    if size >= 0.05 * 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 or not size else f"{math.ceil(size / 2**10)} KiB"
