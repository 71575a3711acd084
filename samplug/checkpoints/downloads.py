"""Download weight files into the cache: one file per URL, one process at a time, checked against a hash."""

import hashlib
import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urldefrag, urlsplit, urlunsplit

from mmengine.logging import print_log

from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.files import first_line, refuse_cut, refuse_text
from samplug.checkpoints.transfer import transfer
from samplug.utils.cache import cache_dir
from samplug.utils.errors import DataError
from samplug.utils.files import write_text
from samplug.utils.text import gib

# Seconds without progress after which a process stops waiting for another process's download of the same file.
_PATIENCE = 300.0
_POLL = 1.0
_SAFE = "%/:=&?~+!$,;'@()*"  # characters that are not percent-encoded
_LONGEST_NAME = 200  # in characters; suffixes such as .part are added
# Segment Anything's file names contain a prefix of their MD5 hash.
_OFFICIAL_MD5 = {
    "sam_vit_b_01ec64.pth": "01ec64",
    "sam_vit_l_0b3195.pth": "0b3195",
    "sam_vit_h_4b8939.pth": "4b8939",
}


class _Address(NamedTuple):
    """A URL, its file name, and the expected hash of the file (``expected`` is empty if unknown)."""

    source: str
    url: str
    name: str
    algorithm: str
    expected: str


def fetch_url(source: str) -> Path:
    """Return the cached file of an http(s) URL, see :func:`samplug.checkpoints.fetch`."""
    address = _parse(source)
    # The folder depends on the URL, so files of the same name from two hosts are kept apart.
    folder = cache_dir() / hashlib.sha256(urldefrag(source).url.encode()).hexdigest()[:12]
    path = folder / address.name
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(
                f"weights: {folder} cannot be made: {error.strerror}; set SAMPLUG_CACHE to a folder for downloads"
            ) from error
        with _locked(path, source):
            if not os.path.lexists(path):
                _download(address, path)
    if not path.is_file():
        raise WeightsError(f"weights: {path}, the place of {source} in the cache, is not a file: remove it")
    _check_cached(path, address)
    return path


def _parse(source: str) -> _Address:
    """Parse a URL with an optional hash.

    Raises:
        WeightsError: The URL or the hash after ``#`` is malformed.
    """
    try:
        url, fragment = urldefrag(source)
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise WeightsError(f"weights: {source[:200]!r} is not a valid address: {first_line(error)}") from error
    if parts.username or parts.password:
        raise WeightsError(
            "weights: addresses with a user name or password are refused, since logs and errors would show them: "
            "download the file by other means, and give its path"
        )
    if not host or re.search(r"[\s\x00-\x1f\x7f\\]", source):
        fault = "it has white space, control characters or backslashes: write %20 and similar" if host else "no host"
        raise WeightsError(f"weights: {source[:200]!r} is not a valid address: {fault}")
    name = Path(parts.path).name
    if name in ("", "..") or len(name.encode()) > _LONGEST_NAME:
        raise WeightsError(f"weights: {source[:200]} does not end in a file name of up to {_LONGEST_NAME} bytes")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    url = urlunsplit((parts.scheme, place, quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE), ""))
    return _Address(source, url, name, *_expected_hash(name, fragment, source))


def _expected_hash(name: str, fragment: str, source: str) -> tuple[str, str]:
    if fragment:
        algorithm, _, digest = fragment.partition("=")
        if algorithm not in ("sha256", "md5") or not re.fullmatch(r"[0-9a-fA-F]{6,64}", digest):
            raise WeightsError(
                f"weights: {source}: expected #sha256=HEX or #md5=HEX with six hexadecimal digits or more"
            )
        return algorithm, digest.lower()
    if name in _OFFICIAL_MD5:
        return "md5", _OFFICIAL_MD5[name]
    # Convention of torch.hub and OpenMMLab; eight decimal digits may be a date.
    hub_style = re.search(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.\w+$", name)
    return "sha256", hub_style[1] if hub_style else ""


def _download(address: _Address, path: Path) -> None:
    """Download a file to a temporary name, check it and rename it; a file that fails a check is deleted."""
    part = path.with_name(f"{path.name}.part")
    transfer(address.url, part)
    try:
        refuse_text(part)
        refuse_cut(part)
        found = _hash(part, address.algorithm) if address.expected else ""
        if not found.startswith(address.expected):
            raise WeightsError(
                f"weights: {address.source}: the download has {address.algorithm} {found}, expected "
                f"{address.expected}...; it was deleted: try again, or check the address"
            )
    except WeightsError as error:
        part.unlink()
        raise WeightsError(str(error).replace(str(part), f"the download of {address.source}")) from error
    part.replace(path)


def _check_cached(path: Path, address: _Address) -> None:
    """Compare a cached file with the expected hash. The file is never deleted: the hash in the URL may be wrong.

    Zip files are hashed once, as long as size and modification time stay the same, since their own checksums are
    compared at each reading. Other files are hashed each time.

    Raises:
        WeightsError: The hash differs.
    """
    if not address.expected:
        return
    has_checksums = zipfile.is_zipfile(path)
    found = _remembered(path, address.algorithm) if has_checksums else ""
    if not found:
        found = _hash(path, address.algorithm)
        if has_checksums:
            _remember(path, address.algorithm, found)
    if not found.startswith(address.expected):
        raise WeightsError(
            f"weights: {address.source}: the file in the cache has {address.algorithm} {found}, expected "
            f"{address.expected}...: correct the address, or delete {path} to download it again"
        )


def _hash(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise WeightsError(f"weights: {path} cannot be read: {error.strerror}") from error


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name}.hash.json")


def _remembered(path: Path, algorithm: str) -> str:
    """Return the stored hash of a file that has not changed since, or an empty string."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        notes, stat = json.loads(_notes(path).read_bytes()), path.stat()
        if (notes["size"], notes["time"]) == (stat.st_size, stat.st_mtime_ns):
            return str(notes.get(algorithm, ""))
    return ""


def _remember(path: Path, algorithm: str, digest: str) -> None:
    stat = path.stat()
    with suppress(DataError):  # a shared cache may be read-only
        write_text(_notes(path), json.dumps({"size": stat.st_size, "time": stat.st_mtime_ns, algorithm: digest}))


@contextmanager
def _locked(path: Path, source: str) -> Iterator[None]:
    """Lock a file so that only one process downloads it, also among machines that share the cache.

    Other processes wait as long as the download grows.

    Raises:
        WeightsError: Another process holds the lock and has received nothing for :data:`_PATIENCE` seconds, or the lock
            file cannot be created.
    """
    from filelock import FileLock, Timeout

    lock, holder = FileLock(f"{path}.lock"), path.with_name(f"{path.name}.holder")
    part = path.with_name(f"{path.name}.part")
    size, since, told = -1, time.monotonic(), False
    while True:
        try:
            lock.acquire(timeout=_POLL)
            break
        except Timeout as error:
            if (now := _size(part)) != size:
                size, since = now, time.monotonic()
            who = f"{_holder(holder)} holds {lock.lock_file}"
            if not told:
                print_log(f"weights: waiting for the download of {source}: {who} ({gib(size)} so far)", "current")
                told = True
            if time.monotonic() - since > _PATIENCE:
                raise WeightsError(
                    f"weights: {source}: {who} and has received nothing for {_PATIENCE:g} s: stop it, and run again"
                ) from error
        except OSError as error:
            raise WeightsError(f"weights: {lock.lock_file} cannot be locked: {first_line(error)}") from error
    try:
        with suppress(DataError):
            write_text(holder, json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(file: Path) -> str:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found: Any = json.loads(file.read_bytes())
        return f"process {found['process']} of {found['host']}"
    return "another process"


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
