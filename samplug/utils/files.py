"""Write files and folders whole or not at all, and explain why they cannot be written."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from samplug.utils.errors import DataError
from samplug.utils.regular_files import MOST_TEXT, read_bytes
from samplug.utils.text import gib, printable

# Error number -> remedy.
_ADVICE = {
    errno.ENOSPC: "free space there, or write to another disk",
    errno.EDQUOT: "your quota is used up: delete files there, or write to another disk",
    errno.EFBIG: "the file is too large for this disk or limit (ulimit -f): write to another disk",
    errno.EIO: "the disk or the network drive has failed: check it, or write to another disk",
    errno.EROFS: "the disk is read-only: write to another disk",
    errno.EACCES: "make the folder writable, or write to another one",
    errno.EPERM: "make the folder writable, or write to another one",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n 4096)",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)


class WriteError(DataError, OSError):
    """A file or folder cannot be written; the message gives the reason, the free space and the remedy.

    ``errno`` is the number of the system's error, ``strerror`` the part of the message after the name.
    """

    @classmethod
    def of(cls, path: str | Path, error: OSError, size: int | None = None) -> "WriteError":
        """Convert an error of the operating system.

        Args:
            path: File or folder to write.
            error: Error of the operating system; a WriteError is returned unchanged.
            size: Bytes to write; None: unknown.
        """
        if isinstance(error, cls):
            return error
        reason = error.strerror or str(error) or type(error).__name__
        if error.filename is not None and not _is_temporary(error.filename) and Path(error.filename) != Path(path):
            reason += f" ({error.filename})"
        if error.errno in _FULL:
            needed = "" if size is None else f"{gib(size)} needed, "
            reason += f" ({needed}{free_space(path)} free)"
        advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
        explained = cls(printable(f"data: {path} cannot be written: {reason}{advice}"))
        explained.errno, explained.strerror = error.errno, f"{reason}{advice}"
        return explained

    def __str__(self) -> str:
        return str(self.args[0])


def free_space(path: str | Path) -> str:
    """Return the free space on the disk of a path, which need not exist, as text."""
    place = next(folder for folder in Path(path).absolute().parents if os.path.exists(folder))
    try:
        return gib(shutil.disk_usage(place).free)
    except OSError:
        return "unknown space"


def _is_temporary(name: Any) -> bool:
    return any(part.endswith(_PARTIAL) for part in Path(os.fsdecode(name)).parts)


_PARTIAL = ".partial"


@contextmanager
def replacing(path: str | Path, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` when the block ends without an error.

    The temporary name is unique across machines, so several processes may write the same file: the last rename wins,
    and readers never see a partial file. The content is flushed to the disk before the rename. The folder is created;
    after an error no file remains.

    Args:
        path: File to write.
        size: Size of the file in bytes, for the message if it does not fit; None: unknown.

    Raises:
        WriteError: The file cannot be written.
    """
    path = Path(path)
    # Short: a name may be as long as the file system allows already.
    partial = path.with_name(f".{uuid4().hex}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise WriteError.of(path, error, size) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_abandoned(folder: Path, seconds: float = 3600.0) -> None:
    """Remove temporary files of :func:`replacing` that killed processes left in a folder: nobody writes to them.

    Args:
        folder: The folder itself; its subfolders are left alone.
        seconds: Time since the last change of a file that is removed.
    """
    for path in folder.glob(f".*{_PARTIAL}"):
        with suppress(OSError):
            if path.is_file() and time.time() - path.stat().st_mtime > seconds:
                path.unlink()


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; rename it to ``path`` when the block ends without an error.

    An existing folder at ``path`` is replaced, then removed. After an error no temporary folder remains.

    Raises:
        WriteError: The folder cannot be written.
    """
    path = Path(path)
    partial, replaced = (path.with_name(f".{uuid4().hex}{_PARTIAL}") for _ in range(2))
    try:
        partial.mkdir(parents=True)
        yield partial
        if path.exists():
            os.replace(path, replaced)
        try:
            os.replace(partial, path)
        except OSError:
            if replaced.exists():
                os.replace(replaced, path)
            raise
    except OSError as error:
        raise WriteError.of(path, error) from error
    finally:
        for folder in (partial, replaced):
            shutil.rmtree(folder, ignore_errors=True)


def replace_file(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Write a file with ``write(temporary path)``, then rename it, see :func:`replacing`.

    Raises:
        WriteError: The file cannot be written.
    """
    with replacing(path) as partial:
        write(partial)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        WriteError: The file cannot be written.
    """
    with replacing(path, len(content)) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Bytes of file names that are not UTF-8 (lone surrogates in Python) are written as ``\\udcXX``, from which JSON reads
    the same name.

    Raises:
        WriteError: The file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


class Attempts:
    """Write several files; if a file cannot be written, the others still are.

    Example::

        attempts = Attempts()
        for path, text in texts.items():
            with attempts:
                write_text(path, text)
        attempts.finish()
    """

    def __init__(self) -> None:
        self.errors: list[WriteError] = []

    def __enter__(self) -> "Attempts":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, WriteError):
            self.errors.append(error)
            return True
        return False

    def finish(self) -> None:
        """Raise the first error, with the number of other errors in its message.

        Raises:
            WriteError: A file could not be written.
        """
        if self.errors:
            first, more = self.errors[0], len(self.errors) - 1
            raise WriteError(f"{first} ({more} more could not be written)" if more else str(first)) from first


def read_json(path: Path, most: int = MOST_TEXT) -> Any:
    """Read a JSON file, which must be a regular file of at most ``most`` bytes.

    Raises:
        DataError: The file cannot be read, is not a regular file, is larger than ``most`` bytes, or is not JSON.
    """
    content = b""
    try:
        content = read_bytes(path, most)
        return json.loads(content)
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise DataError(f"data: {path} is nested too deeply: remove or replace it") from error
    except ValueError as error:  # also for bytes that are not text
        raise DataError(
            f"data: {path} is not JSON: {error}; it starts with {content[:40]!r}: download or export it again"
        ) from error
