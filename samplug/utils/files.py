"""Write files and folders whole or not at all."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from samplug.utils.errors import DataError
from samplug.utils.regular_files import MOST_TEXT, read_bytes


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` when the block ends without an error.

    The temporary name is unique on any machine, so several processes may write one file: the last one wins, and a
    reader sees a whole file or none. The content reaches the disk before the rename. The folder is made; after an error
    nothing is left.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    # Short: a name may be as long as the file system allows already.
    partial = path.with_name(f".{uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; rename it to ``path`` when the block ends without an error.

    A folder that is at ``path`` already is removed after it was replaced. After an error nothing is left.

    Raises:
        OSError: The folder cannot be written.
    """
    path = Path(path)
    partial, replaced = (path.with_name(f".{uuid4().hex}.partial") for _ in range(2))
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
    finally:
        for folder in (partial, replaced):
            shutil.rmtree(folder, ignore_errors=True)


def replace_file(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Write a file with ``write(temporary path)``, then rename it, see :func:`replacing`.

    Raises:
        DataError: It cannot be written.
    """
    try:
        with replacing(path) as partial:
            write(partial)
    except OSError as error:
        raise DataError(f"data: {path} cannot be written: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Names with bytes that are not UTF-8 are written with escapes (``caf\\udce9.jpg``), so that the file stays UTF-8.

    Raises:
        DataError: It cannot be written.
    """
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8", errors="backslashreplace"))


def read_json(path: Path, most: int = MOST_TEXT) -> Any:
    """Read the content of a JSON file, a regular file of at most ``most`` bytes.

    Raises:
        DataError: The file cannot be read, is no regular file, is larger, or is not JSON.
    """
    content = b""
    try:
        content = read_bytes(path, most)
        return json.loads(content)
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise DataError(f"data: {path} is nested too deeply for JSON that people write: remove it") from error
    except ValueError as error:  # also for bytes that are not text
        raise DataError(
            f"data: {path} is not JSON: {error}; it starts with {content[:40]!r}: download or export it again"
        ) from error
