"""Read the tensors of TorchScript archives, such as OpenAI's CLIP files, without running their code."""

import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplug.checkpoints.errors import WeightsError
from samplug.utils.text import gib

_CODE = "__torch__."  # beginning of the names of all types that an archive defines


class ScriptedModule:
    """Stand-in for a module of an archive: its attributes, and no code."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a module's state is a {type(state).__name__}")
        vars(self).update(state)


def _value(value: Any, *_: Any) -> Any:
    """Replace the functions by which TorchScript gives types to lists and dicts."""
    return value


_LISTS = tuple(
    (_value, f"torch.jit._pickle.{name}")
    for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
)


def is_torchscript(path: Path) -> bool:
    """Return True if a file is a TorchScript archive, by the record by which torch tells it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # damaged tables of a zip file may fail in any way, and are reported when it is read
        return False


def without_code(path: Path) -> io.BytesIO:
    """Return a TorchScript archive as a file of ``torch.save``: the pickled module and the tensors alone.

    Checksums are compared.

    Raises:
        WeightsError: The records would decompress to more than the size of the file.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as kept:
        records = [record for record in archive.infolist() if _is_data(record.filename)]
        size, limit = sum(record.file_size for record in records), path.stat().st_size
        if size > limit:
            raise WeightsError(
                f"weights: {path} ({gib(limit)}) would decompress to {gib(size)}: it is a crafted file, and torch does "
                "not compress tensors"
            )
        for record in records:
            kept.writestr(record.filename, archive.read(record))
    copy.seek(0)
    return copy


def stand_ins(file: io.BytesIO) -> list[Any]:
    """Return stand-ins for the types of :func:`without_code`'s result, for ``torch.serialization.safe_globals``."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    file.seek(0)
    return [*_LISTS, *((ScriptedModule, name) for name in names if name.startswith(_CODE))]


def tensors_of(module: ScriptedModule) -> dict[str, Tensor]:
    """Return all tensors of a module by dotted name: parameters, buffers, and other attributes that are tensors."""
    return dict(_walk(module, "", set()))


def _walk(module: ScriptedModule, head: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    seen.add(id(module))  # a crafted file may contain circles
    for name, value in vars(module).items():
        if isinstance(value, Tensor) and isinstance(name, str):
            yield f"{head}{name}", value
        elif isinstance(value, ScriptedModule) and id(value) not in seen:
            yield from _walk(value, f"{head}{name}.", seen)


def _is_data(name: str) -> bool:
    record = name.partition("/")[2]
    return record in ("data.pkl", "version", "byteorder") or record.startswith("data/")
