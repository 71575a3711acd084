"""Fetch a weight file and read it without running code in it."""

import ast
import hashlib
import json
import pickle
import re
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlparse

import torch
from mmengine.logging import HistoryBuffer, print_log

from samplug.checkpoints.errors import UnsafeCheckpointError, WeightsError
from samplug.checkpoints.numpy_values import STAND_INS
from samplug.utils.cache import cache_dir


def _statistic(owner: Any, name: str) -> Any:
    """Replace ``getattr``, by which MMEngine's log histories pickle their methods; refuse everything else."""
    if owner is HistoryBuffer and name in ("min", "max", "mean", "current"):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"Unsupported global: GLOBAL builtins.getattr of {owner!r}, {name!r}")


# Types in MMEngine's checkpoints besides tensors and plain containers: log histories and plain NumPy values.
_ALLOWED: list[Any] = [
    HistoryBuffer,
    (_statistic, "builtins.getattr"),
    *STAND_INS,
]
_CHUNK = 1 << 20
_ATTEMPTS = 4
# md5 prefixes, which Segment Anything's files have in their names.
_OFFICIAL_MD5 = {
    "sam_vit_b_01ec64.pth": "01ec64",
    "sam_vit_l_0b3195.pth": "0b3195",
    "sam_vit_h_4b8939.pth": "4b8939",
}
_HUB_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def fetch(source: str) -> Path:
    """Return the local file of a source; a remote one is downloaded into the cache first.

    Args:
        source: A path; an http(s) address, optionally ending in ``#sha256=HEX`` or ``#md5=HEX`` (a prefix of six digits
            or more is enough); or ``hf://OWNER/REPO[/FILE][@REVISION]``.

    Raises:
        WeightsError: The file does not exist, the download fails, or the hash is not the expected one.
    """
    source = str(source)
    if source.startswith("hf://"):
        return _fetch_hub(source)
    if source.startswith(("http://", "https://")):
        return _fetch_url(source)
    path = Path(source).expanduser()
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise WeightsError(
            f"weights: {path} {kind} (expected a path, an https:// address or hf://OWNER/REPO[/FILE][@REVISION])"
        )
    return path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file to the CPU; pickled code is not run, and configs in the file stay text.

    Args:
        path: A ``.safetensors`` file, a sharded ``*.safetensors.index.json``, or any file of ``torch.save``.

    Returns:
        The content, a mapping: a state dict, or a checkpoint with ``state_dict`` and more.

    Raises:
        UnsafeCheckpointError: The file asks to run code.
        WeightsError: The file cannot be read, or its content is not a mapping.
    """
    path = Path(path)
    if path.name.endswith(".safetensors.index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    _refuse_text(path)
    _compare_checksums(path)
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "GLOBAL" in str(error) or "unsupported" in str(error).lower():
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f"the Python object {found[1]}" if found else "Python objects"
            raise UnsafeCheckpointError(
                f"weights: {path} asks to load {what}, which could run code, so it was not opened. samplug reads "
                "tensors and plain containers only; if you trust the file, re-save its state dict with safetensors or "
                "torch.save"
            ) from error
        raise WeightsError(f"weights: {path} is not a readable checkpoint: {_first_line(error)}") from error
    except Exception as error:  # damaged pickle data may fail in any way
        size = path.stat().st_size if path.exists() else 0
        raise WeightsError(
            f"weights: {path} ({size:,} bytes) is damaged or no checkpoint, perhaps a broken download: "
            f"{_first_line(error)}"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"weights: {path} holds a {type(content).__name__}, expected a state dict or a checkpoint")
    refuse_code_in_config(content, path)
    return dict(content)


def _refuse_text(path: Path) -> None:
    """Raise a WeightsError for a web page or a git-lfs pointer, for which unpickling would give a misleading error."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(64).lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise WeightsError(f"weights: {path} is a web page, not a checkpoint: download the file itself")
        if head.startswith(b"version https://git-lfs"):
            raise WeightsError(
                f"weights: {path} is a pointer of git-lfs, not a checkpoint: fetch its content with git lfs pull"
            )


def _compare_checksums(path: Path) -> None:
    """Raise a WeightsError if a zip file, torch's format, differs from its CRC-32, which torch does not compare."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:  # torch.load tells what is wrong
        try:
            damaged = archive.testzip()
        except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise WeightsError(f"weights: {path} is damaged: {error}; copy or download it again") from error
        if damaged is not None:
            raise WeightsError(
                f"weights: {path} is damaged: the checksum of {damaged} in it differs from its content; copy or "
                "download it again"
            )


def refuse_code_in_config(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose stored config holds more than assignments of values.

    samplug never executes the config, but MMEngine (``Runner.resume``) and other tools do.

    Raises:
        UnsafeCheckpointError: The config has imports, calls or other statements.
    """
    meta = checkpoint.get("meta")
    for key in ("config", "cfg"):
        text = meta.get(key) if isinstance(meta, Mapping) else None
        if isinstance(text, str) and not _is_plain_config(text):
            raise UnsafeCheckpointError(
                f"weights: {path} carries a config with code (meta[{key!r}]), not only values; it was not executed and "
                "the file is refused. If you trust the weights, delete that entry and save the file again"
            )


def _is_plain_config(text: str) -> bool:
    allowed_calls = {"dict", "list", "tuple", "set", "float", "slice", "range"}
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return True  # cannot be executed
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in allowed_calls):
                return False
        elif (isinstance(node, ast.stmt) and not isinstance(node, ast.Assign | ast.Expr)) or isinstance(
            node, ast.Attribute | ast.Lambda | ast.NamedExpr | ast.comprehension
        ):
            return False
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights: {path} is not a readable safetensors file: {_first_line(error)}") from error


def _read_shards(index: Path) -> dict[str, Any]:
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"weights: {index} is not an index of safetensors shards: {_first_line(error)}") from error
    state: dict[str, Any] = {}
    for shard in shards:
        state.update(_read_safetensors(fetch(str(index.parent / Path(shard).name))))
    return state


def _fetch_hub(source: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    address, _, revision = source.removeprefix("hf://").partition("@")
    owner, _, rest = address.partition("/")
    repo, _, filename = rest.partition("/")
    if not owner or not repo:
        raise WeightsError(f"weights: {source} is not of the form hf://OWNER/REPO[/FILE][@REVISION]")
    options: Any = dict(repo_id=f"{owner}/{repo}", revision=revision or None)
    wanted = (filename,) if filename else _HUB_FILES
    failure: Exception | None = None
    for name in wanted:
        try:
            path = Path(hf_hub_download(filename=name, **options))
            if name.endswith(".index.json"):
                for shard in sorted(set(json.loads(path.read_text())["weight_map"].values())):
                    hf_hub_download(filename=shard, **options)  # type: ignore[arg-type]
            return path
        except (EntryNotFoundError, LocalEntryNotFoundError) as error:
            failure = error
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
            raise WeightsError(f"weights: {source} could not be fetched from the Hub: {_first_line(error)}") from error
    raise WeightsError(
        f"weights: {source}: none of {', '.join(wanted)} is in the repository or in the local Hub cache: "
        f"{_first_line(failure)}"  # type: ignore[arg-type]
    )


def _fetch_url(source: str) -> Path:
    from filelock import FileLock

    url, fragment = urldefrag(source)
    name = Path(urlparse(url).path).name
    if not name:
        raise WeightsError(f"weights: {source} does not end in a file name")
    algorithm, expected = _expected_hash(name, fragment, source)
    # The folder depends on the address, so files of the same name from two hosts are kept apart.
    folder = cache_dir() / hashlib.sha256(url.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / name, folder / f"{name}.part"
    with FileLock(f"{path}.lock"):  # one download for all processes of a machine
        if not path.exists():
            _download(url, part)
            _check_hash(part, algorithm, expected, source)
            part.replace(path)
        elif fragment:
            _check_hash(path, algorithm, expected, source)
    return path


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
    # The convention of torch.hub and OpenMMLab; eight decimal digits may be a date.
    hub_style = re.search(r"-(?!(?:19|20)\d{6}\.)([0-9a-f]{8,64})\.\w+$", name)
    return "sha256", hub_style[1] if hub_style else ""


def _check_hash(path: Path, algorithm: str, expected: str, source: str) -> None:
    if not expected:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).hexdigest()
    if not digest.startswith(expected):
        path.unlink()
        raise WeightsError(
            f"weights: {source}: the download has {algorithm} {digest}, expected {expected}...; it was deleted, try "
            "again or check the address"
        )


def _download(url: str, part: Path) -> None:
    """Download to ``part``; continue a partial file of an earlier attempt."""
    failure = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(2**attempt, 10) * 0.25)
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                resumed = response.status == 206
                if have and not resumed:
                    have = 0
                length = response.headers.get("Content-Length")
                total = have + int(length) if length else None
                print_log(f"downloading {url} ({total or '?'} bytes, {have} present)", logger="current")
                with part.open("ab" if resumed else "wb") as file:
                    while chunk := response.read(_CHUNK):
                        file.write(chunk)
            if total is None or part.stat().st_size == total:
                return
            failure = f"connection closed after {part.stat().st_size} of {total} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the partial file does not belong to this file
                part.unlink()
                continue
            failure = f"HTTP {error.code} {error.reason}"
            if 400 <= error.code < 500:
                break
        except (OSError, HTTPException) as error:
            failure = _first_line(error)
    kept = (
        f"; {part} keeps the part that arrived, run again to continue" if part.exists() and part.stat().st_size else ""
    )
    raise WeightsError(f"weights: {url} could not be downloaded: {failure}{kept}")
