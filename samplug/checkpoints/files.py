"""Read a weight file without running code in it."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import HistoryBuffer

from samplug.checkpoints.errors import UnsafeCheckpointError, WeightsError
from samplug.checkpoints.numpy_values import STAND_INS
from samplug.checkpoints.stored_configs import refuse_code_in_config
from samplug.checkpoints.torchscript import ScriptedModule, is_torchscript, stand_ins, tensors_of, without_code
from samplug.utils.errors import DataError
from samplug.utils.files import read_json
from samplug.utils.text import gib, one_line, printable

_ZIP = b"PK\3\4"  # by which torch tells its zip files from older ones


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


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file to the CPU; pickled code is not run, and configs in the file stay text.

    Args:
        path: A ``.safetensors`` file, a sharded ``*.safetensors.index.json``, any file of ``torch.save``, or a
            TorchScript archive.

    Returns:
        The content, a mapping: a state dict, or a checkpoint with ``state_dict`` and more. For an archive, its tensors.

    Raises:
        UnsafeCheckpointError: The file asks to run code.
        WeightsError: The file cannot be read, or its content is not a mapping.
    """
    path = local_file(path)
    if path.name.endswith(".safetensors.index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    refuse_text(path)
    scripted = _is_zip(path) and is_torchscript(path)
    if not scripted:
        _compare_checksums(path)
    try:
        file: Any = without_code(path) if scripted else path
        with torch.serialization.safe_globals([*_ALLOWED, *(stand_ins(file) if scripted else ())]):
            content = torch.load(file, map_location="cpu", weights_only=True)
        if isinstance(content, ScriptedModule):
            return tensors_of(content)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "GLOBAL" in str(error) or "unsupported" in str(error).lower():
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            # An instruction that torch does not read comes from a crafted file or from damage.
            what = f"asks to load the Python object {found[1]}" if found else "is damaged, or asks for Python objects"
            raise UnsafeCheckpointError(
                f"weights: {path} {what}, which could run code, so it was not opened. samplug reads "
                "tensors and plain containers only; if you trust the file, re-save its state dict with safetensors or "
                "torch.save"
            ) from error
        raise WeightsError(f"weights: {path} is not a readable checkpoint: {first_line(error)}") from error
    except Exception as error:  # damaged pickle data may fail in any way
        size = path.stat().st_size if path.exists() else 0
        raise WeightsError(
            f"weights: {path} ({size:,} bytes) is damaged or no checkpoint, perhaps a broken download: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"weights: {path} holds a {type(content).__name__}, expected a state dict or a checkpoint")
    refuse_code_in_config(content, path)
    return dict(content)


def local_file(path: str | Path) -> Path:
    """Return the path of a regular file, with ``~`` expanded.

    Raises:
        WeightsError: The path does not exist, is a folder, device or pipe, or cannot be accessed.
    """
    try:
        path = Path(path).expanduser()
        if path.is_file():
            return path
        kind = "is a folder" if path.is_dir() else "is a device or a pipe" if path.exists() else "does not exist"
    except (OSError, RuntimeError) as error:  # no permission, name too long, unknown user
        kind = f"cannot be accessed ({first_line(error)})"
    raise WeightsError(
        f"weights: {printable(str(path)[:200])} {kind} (expected a file, an https:// address or hf://OWNER/REPO[/FILE][@REVISION])"
    )


def refuse_text(path: Path) -> None:
    """Raise a WeightsError for a web page or a git-lfs pointer, for which unpickling would give a misleading error."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(64).lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise WeightsError(f"weights: {path} is a web page, not a checkpoint: download the file itself")
        if head.startswith(b"version https://git-lfs"):
            raise WeightsError(
                f"weights: {path} is a pointer of git-lfs, not a checkpoint: fetch its content with git lfs pull"
            )


def refuse_cut(path: Path) -> None:
    """Raise a WeightsError if a file's own table of contents shows that the file is truncated."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip and not zipfile.is_zipfile(path):
        raise WeightsError(f"weights: {path} is cut short: the end of its zip format is missing; fetch it again")
    if path.name.split(".part")[0].endswith(".safetensors"):
        _open_safetensors(path)


def _is_zip(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:  # torch.load tells what is wrong
        return file.read(len(_ZIP)) == _ZIP
    return False


def _compare_checksums(path: Path) -> None:
    """Raise a WeightsError if a zip file (torch's format) does not match its CRC-32, which torch does not check.

    torch.save does not compress, so a file that would decompress to more than its own size is refused first.
    """
    if not _is_zip(path):
        return
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(part.file_size for part in archive.infolist())
            damaged = archive.testzip() if unfolded <= size else None
    except Exception as error:  # damaged tables of a zip file may fail in any way
        raise WeightsError(
            f"weights: {path} ({size:,} bytes) is damaged, perhaps a broken download: {first_line(error)}; copy or "
            "download it again"
        ) from error
    if unfolded > size:
        raise WeightsError(
            f"weights: {path} ({gib(size)}) would decompress to {gib(unfolded)}: it is a compressed or crafted zip "
            "file, and torch.save does not compress: save the weights again"
        )
    if damaged is not None:
        raise WeightsError(
            f"weights: {path} is damaged: the checksum of {one_line(damaged)} in it differs from its content; copy or "
            "download it again"
        )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _open_safetensors(path: Path) -> None:
    """Raise a WeightsError if header and size of a safetensors file do not match; its values are not read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights: {path} is not a readable safetensors file: {first_line(error)}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    refuse_text(path)
    _open_safetensors(path)
    try:
        return dict(load_file(path))
    except Exception as error:  # dtypes that this torch lacks
        raise WeightsError(f"weights: {path} is not a readable safetensors file: {first_line(error)}") from error


def _read_shards(index: Path) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for shard in shard_names(index):
        try:
            path = local_file(index.parent / shard)
        except WeightsError as error:
            raise WeightsError(f"{error}; {index} names it") from error
        state.update(_read_safetensors(path))
    return state


def shard_names(index: Path) -> list[str]:
    """Return the file names in an index of safetensors shards.

    Raises:
        WeightsError: The file is not an index of shards, or a name points outside its folder.
    """
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        wrong = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    except (DataError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"weights: {index} is not an index of safetensors shards: {first_line(error)}") from error
    if wrong:
        raise WeightsError(f"weights: {index} names {wrong[0][:100]!r}, expected a .safetensors file beside it")
    return names
