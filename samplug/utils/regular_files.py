"""Read untrusted files: only regular files, and only up to a given size."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# The largest published annotation files of COCO have about 1.2 GB.
MOST_TEXT = 4 * 2**30
"""Largest size of a JSON, YAML or text file in bytes."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file, or a link to a regular file, for reading.

    Pipes, sockets and devices are refused, since reading them may block or never end; opening does not block.

    Raises:
        OSError: The file cannot be opened, or is not a regular file; ``strerror`` gives the reason.
    """
    path = os.path.abspath(path)
    _require_regular(path, os.stat(path).st_mode)  # before open(), which has effects on some devices
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags)
    try:
        _require_regular(path, os.fstat(file).st_mode)  # the file may have been replaced
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_bytes(path: str | Path, most: int = MOST_TEXT) -> bytes:
    """Read a regular file.

    Args:
        path: File to read.
        most: Largest size in bytes.

    Raises:
        OSError: The file cannot be read, is not a regular file, or is larger than ``most`` bytes; ``strerror`` gives
            the reason.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, the limit is {most:,}", str(path))
        return file.read(size)


def _require_regular(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        link = "a link to " if os.path.islink(path) else ""
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {link}{kind}, not a file", path)
