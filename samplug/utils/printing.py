"""Keep errors while printing from ending a command."""

import io
import os
import select
import sys
from typing import Any, TextIO

_STANDARD = ("stdout", "stderr")


def tolerate_output() -> None:
    """Make the standard streams of this process accept any text.

    Characters that the console's encoding lacks, and bytes of file names that are not UTF-8, are printed as escapes
    (``\\u5199``). Text to a closed pipe, as with ``| head``, or to a full disk is dropped. Streams that other code has
    replaced are not changed.
    """
    for name in _STANDARD:
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        if stream is None:  # closed, or a program without a console on Windows
            nowhere = open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _tolerant(stream))


def _tolerant(stream: io.TextIOWrapper) -> TextIO:
    stream.flush()
    if os.name == "nt" and stream.isatty():  # a console takes characters, not bytes of a file
        stream.reconfigure(errors="backslashreplace")
        return stream
    buffer = io.BufferedWriter(_LossyFile(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.isatty(),
        write_through=stream.write_through,
    )


class _LossyFile(io.FileIO):
    """File that drops data which the system does not accept."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # non-blocking stream
                select.select([], [self], [])
            return written
        except OSError:
            return len(data)
