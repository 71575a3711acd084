"""Read files from strangers: regular files only, whole, and of a stated size."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# COCO's largest published annotation files have about 1.2 GB.
MOST_TEXT = 4 * 2**30
"""Largest JSON, yaml or text file that is read, in bytes."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read it; refuse what is no regular file, and links to such things.

    Reading a pipe, a socket or a device may wait for ever or never end. Opening waits for nothing.

    Raises:
        OSError: The file cannot be opened, or is no regular file; ``strerror`` says so.
    """
    path = os.path.abspath(path)
    _require_regular(path, os.stat(path).st_mode)  # before open(), which acts on some devices
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags)
    try:
        _require_regular(path, os.fstat(file).st_mode)  # it may have been exchanged
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_bytes(path: str | Path, most: int = MOST_TEXT) -> bytes:
    """Read a regular file whole.

    Args:
        path: The file.
        most: Largest size in bytes.

    Raises:
        OSError: The file cannot be read, is no regular file, or is larger; ``strerror`` says so.
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
