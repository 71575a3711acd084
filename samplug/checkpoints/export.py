"""Write weights in the layouts of the published files."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from samplug.checkpoints.contents import check_values, state_dict_of
from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.families import family_named, recognise, unwrapped
from samplug.checkpoints.files import read_checkpoint
from samplug.checkpoints.sources import fetch
from samplug.utils.errors import UserError
from samplug.utils.text import gib

SAM, SAM2 = "SAM (official)", "SAM 2"
HUB = {SAM: "SAM (Hugging Face)", SAM2: "SAM 2 (Hugging Face)"}


def official_file(
    state: Mapping[str, Tensor], family: str, video: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Return the content of an official file with a model's weights.

    Args:
        state: All entries of the model, ``backbone.*`` and ``decode_head.*``.
        family: :data:`SAM` or :data:`SAM2`.
        video: Further entries of SAM 2's file, under the file's keys.

    Returns:
        The entries for SAM, ``{'model': entries}`` for SAM 2; tensors are detached, contiguous and on the CPU.
    """
    layout = family_named(family)
    entries = _plain({**layout.gather(state, layout.keys_of(state)), **(video or {})})
    return {"model": entries} if family == SAM2 else entries


def hub_state(state: Mapping[str, Tensor], family: str, keys: Iterable[str]) -> dict[str, Tensor]:
    """Return the entries of a file for the Hub.

    Args:
        state: All entries of the model, ``backbone.*`` and ``decode_head.*``.
        family: :data:`SAM` or :data:`SAM2`.
        keys: Keys of transformers' model.
    """
    # safetensors refuses tensors that share memory.
    return {key: value.clone() for key, value in _plain(family_named(HUB[family]).gather(state, keys)).items()}


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in state.items()}


def video_entries(source: str) -> dict[str, Tensor]:
    """Return the entries of an official SAM 2 file that only video needs: memory and object pointers.

    Args:
        source: See :func:`fetch`.

    Raises:
        WeightsError: The file cannot be read, or is no official SAM 2 file of the video model.
    """
    path = fetch(source)
    state = unwrapped(state_dict_of(read_checkpoint(path), source))
    family = recognise(state)
    found = {key: value for key, value in state.items() if family_named(SAM2).rename(key) == ()}  # type: ignore[misc]
    if family is None or family.name != SAM2 or not found:
        raise WeightsError(
            f"export: {source} holds no video entries under their official names "
            f"({family.name if family else 'an unknown layout'}): name an original SAM 2 file, such as "
            "sam2.1_hiera_small.pt"
        )
    check_values({key: (value, value) for key, value in found.items()}, source)
    # Entries may share storage; written separately, they must not exceed the size of the source file.
    if (size := sum(value.nbytes for value in found.values())) > path.stat().st_size:
        raise WeightsError(
            f"export: the video entries of {source} share storage, {gib(size)} in all: name an original file"
        )
    return found


def check_target(path: Path, folder: bool, overwrite: bool) -> None:
    """Check, before any work is done, that the result can be written.

    Args:
        path: The file or folder to write.
        folder: True if it is a folder.
        overwrite: Allow that existing files are replaced.

    Raises:
        UserError: A folder exists in place of the file or the reverse, or the path exists and must not be replaced.
    """
    if path.exists() and path.is_dir() != folder:
        kind, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"export: {path} is a {kind}, and a {wanted} is to be written: choose another --out")
    if not overwrite and path.exists() and (not folder or any(path.iterdir())):
        raise UserError(f"export: {path} exists already: choose another --out, or pass --overwrite to replace it")


def save(content: Mapping[str, Any], path: Path) -> None:
    """Save tensors and plain containers with ``torch.save``.

    Raises:
        OSError: It cannot be written.
    """
    try:
        torch.save(dict(content), path)
    except RuntimeError as error:  # torch's error for a full disk
        raise OSError(str(error)) from error


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files move into ``folder`` when the block ends.

    They replace files of the same names.

    Raises:
        UserError: The files cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as place:
            yield Path(place)
            for file in sorted(Path(place).iterdir()):
                os.replace(file, folder / file.name)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"export: {folder} cannot be written: {error}; free space there, or choose another --out"
        ) from error
