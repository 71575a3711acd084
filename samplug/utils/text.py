"""Format lists and sizes in messages."""

import math
from collections.abc import Iterable, Mapping


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
    """Join the first ``limit`` lines, indented; the last line counts the rest."""
    lines = list(lines)
    more = [f"and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(f"  {line}" for line in lines[:limit] + more)


def gib(size: float) -> str:
    """Format bytes as GiB, or as MiB or KiB if they are few."""
    if size >= 0.05 * 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 or not size else f"{math.ceil(size / 2**10)} KiB"


def printable(text: str) -> str:
    """Return a text that can be encoded: bytes of file names that are not UTF-8 become ``\\udcXX``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
