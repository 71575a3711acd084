"""Download a file over HTTP: complete, from a single version, and within limits."""

import json
import os
import re
import shutil
import stat
import time
import urllib.error
import urllib.request
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from mmengine.logging import print_log

from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.files import first_line
from samplug.utils.errors import DataError
from samplug.utils.files import write_text
from samplug.utils.text import gib

STALL = 60.0
"""Seconds without data, or below :data:`SLOWEST`, after which a connection is closed."""
SLOWEST = 1_000
"""Lowest rate in bytes per second."""
LONGEST = 12 * 3600.0
"""Largest duration of a download in seconds, including all attempts."""
LARGEST = 64 << 30
"""Largest file size in bytes."""
_ATTEMPTS = 4
_CHUNK = 1 << 20
_WAIT_AND_TRY_AGAIN = (408, 416, 429)


class _FinalError(Exception):
    """Error that another attempt would repeat."""


class _Version(NamedTuple):
    """Version of a file as the server states it, stored beside the partial file.

    Fields that the server does not state are None.
    """

    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """Value for ``If-Range``, which identifies one version of the file."""
        return self.etag if self.etag and self.etag.startswith('"') else self.modified

    @classmethod
    def of(cls, headers: HTTPMessage, total: int | None) -> "_Version":
        return cls(headers.get("ETag"), _reliable_time(headers), total)

    @classmethod
    def read(cls, record: Path) -> "_Version | None":
        with suppress(OSError, ValueError, TypeError):
            version = cls(**json.loads(record.read_bytes()))
            if isinstance(version.validator, str) and isinstance(version.total, int | None):
                return version
        return None


def _reliable_time(headers: HTTPMessage) -> str | None:
    """Return ``Last-Modified`` if it is at least a minute old: a file may change twice within a second."""
    with suppress(TypeError, ValueError):
        modified = headers["Last-Modified"]
        age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(modified)
        return modified if age.total_seconds() >= 60 else None
    return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow at most ten redirects to http(s) addresses, never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            raise _FinalError(
                f"the server redirects to {newurl[:200]}; only http and https are followed, and never https to http"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, part: Path) -> None:
    """Download a URL to ``part``; continue an existing partial file if the server still has the same version.

    The limits are :data:`STALL`, :data:`SLOWEST`, :data:`LONGEST` and :data:`LARGEST`.

    Raises:
        WeightsError: The server cannot be reached, returns an error or other data than announced, or a limit is
            exceeded; the partial file is kept. Or ``part`` is not a regular file, or cannot be written.
    """
    failure, deadline = "", time.monotonic() + LONGEST
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(2**attempt, 10) * 0.25)
        try:
            return _attempt(url, part, deadline)
        except urllib.error.HTTPError as error:
            failure = f"HTTP {error.code} {' '.join(str(error.reason).split())[:200]}"
            if error.code == 416:  # the partial file is longer than the file
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in _WAIT_AND_TRY_AGAIN:
                break
        except (_FinalError, ValueError) as error:  # ValueError: malformed URL of a redirect
            failure = first_line(error)
            break
        except (OSError, HTTPException) as error:
            failure = first_line(error)
    kept = f"; the partial file {part} is kept: run again to continue" if _present(part) else ""
    raise WeightsError(f"weights: {url} could not be downloaded: {failure}{kept}")


def _attempt(url: str, part: Path, deadline: float) -> None:
    record = part.with_name(f"{part.name}.json")
    have, version = _present(part), _Version.read(record)
    if version is None:
        have = 0
    elif have and have == version.total:
        return
    headers = {"Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": str(version.validator)}
    opener = urllib.request.build_opener(_Redirects)
    with opener.open(urllib.request.Request(url, headers=headers), timeout=STALL) as response:
        start, total = _announced(response, have, version)
        if start is None:
            _restart(part, record)
            raise OSError("the server sent another part or another version of the file than requested")
        if total is not None and total > LARGEST:
            raise _FinalError(f"the server announces {gib(total)}, more than {gib(LARGEST)}")
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise _FinalError(
                f"{gib(total - start)} are needed, {gib(free)} are free in {part.parent}: free space, or set "
                "SAMPLUG_CACHE to another folder"
            )
        if not start:
            _restart(part, record)
            with suppress(DataError):  # without it the next attempt starts from the beginning
                write_text(record, json.dumps(_Version.of(response.headers, total)._asdict()))
        print_log(f"downloading {url} ({'?' if total is None else total} bytes, {start} present)", logger="current")
        with _open(part, new=not start) as file:
            size = _copy(response, file, start, deadline)
    if total is not None and size != total:
        raise OSError(f"connection closed after {size} of {total} bytes")
    record.unlink(missing_ok=True)


def _announced(response: Any, have: int, version: _Version | None) -> tuple[int | None, int | None]:
    """Return the offset at which a response starts, and the size of the whole file if the server states it.

    The offset is None if the response does not continue the partial file.
    """
    if encoding := response.headers.get("Content-Encoding", "").replace("identity", ""):
        raise _FinalError(f"the server compresses the file ({encoding[:40]}), although not asked to")
    length = response.headers.get("Content-Length", "")
    if length and not re.fullmatch(r"\d{1,18}", length):
        raise _FinalError(f"the server announces a length of {length[:40]!r}")
    if response.status == 200:
        return 0, int(length) if length else None
    if response.status != 206 or not version:
        raise _FinalError(f"the server answers HTTP {response.status} instead of the file")
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        return None, None
    total = version.total if found[2] == "*" else int(found[2])
    same = _Version.of(response.headers, total)
    repeated = same.etag == version.etag if version.etag else response.headers["Last-Modified"] == version.modified
    return (have, total) if repeated and version.total in (None, total) else (None, None)


def _copy(response: Any, file: IO[bytes], size: int, deadline: float) -> int:
    """Append a response to a file of ``size`` bytes; http.client reads no more than the announced length.

    Returns:
        The new size of the file.
    """
    since, before = time.monotonic(), size
    while chunk := response.read1(_CHUNK):
        size += len(chunk)
        if size > LARGEST:
            raise _FinalError(f"the server sends more than {gib(LARGEST)}")
        try:
            file.write(chunk)
        except OSError as error:
            raise _FinalError(f"the file cannot be written: {error.strerror}") from error
        now = time.monotonic()
        if now > deadline:
            raise _FinalError(f"it takes longer than {LONGEST / 3600:g} hours")
        if now - since >= STALL:
            if size - before < SLOWEST * STALL:
                raise OSError(f"{size - before} bytes arrived within {now - since:.0f} s")
            since, before = now, size
    return size


def _present(part: Path) -> int:
    """Return the size of a partial file, 0 if it does not exist.

    Raises:
        WeightsError: It is a link, folder, pipe or device, or has several hard links.
    """
    try:
        found = os.lstat(part)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise WeightsError(f"weights: {part} cannot be accessed: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise WeightsError(
            f"weights: {part} is a link, folder or pipe instead of a partial download and was not changed: "
            "remove it, and run again"
        )
    return found.st_size


def _restart(part: Path, record: Path) -> None:
    try:
        part.unlink(missing_ok=True)
        record.unlink(missing_ok=True)
    except OSError as error:
        raise _FinalError(f"{part} cannot be replaced: {error.strerror}") from error


def _open(part: Path, new: bool) -> IO[bytes]:
    """Open a partial file for appending; a link that has replaced it meanwhile is not followed."""
    how = os.O_CREAT | os.O_EXCL if new else os.O_APPEND
    try:
        handle = os.open(part, os.O_WRONLY | how | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise _FinalError(f"{part} cannot be written: {error.strerror}") from error
    return open(handle, "wb" if new else "ab")
