"""Writing weights in the layouts of the published files."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.families import family_named, recognise, state_dict_of
from samplug.checkpoints.files import fetch, read_checkpoint
from samplug.utils.errors import UserError

SAM, SAM2 = "SAM (official)", "SAM 2"
HUB = {SAM: "SAM (Hugging Face)", SAM2: "SAM 2 (Hugging Face)"}


def official_file(
    state: Mapping[str, Tensor], family: str, video: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """What an official file holds of a model.

    Args:
        state: All entries of the model, ``backbone.*`` and ``decode_head.*``.
        family: :data:`SAM` or :data:`SAM2`.
        video: Further entries of SAM 2's file, under the file's keys.

    Returns:
        Of SAM the entries, of SAM 2 ``{'model': entries}``; detached, contiguous, on the CPU.
    """
    layout = family_named(family)
    entries = _plain({**layout.gather(state, layout.keys_of(state)), **(video or {})})
    return {"model": entries} if family == SAM2 else entries


def hub_state(state: Mapping[str, Tensor], family: str, keys: Iterable[str]) -> dict[str, Tensor]:
    """The entries of a file of the Hub.

    Args:
        state: All entries of the model, ``backbone.*`` and ``decode_head.*``.
        family: :data:`SAM` or :data:`SAM2`.
        keys: Those of transformers' model.
    """
    # Each its own: a file of safetensors holds no tensor under two names.
    return {key: value.clone() for key, value in _plain(family_named(HUB[family]).gather(state, keys)).items()}


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in state.items()}


def video_entries(source: str) -> dict[str, Tensor]:
    """What only video needs of an official SAM 2 file: memory, and pointers to objects.

    Args:
        source: See :func:`fetch`.

    Raises:
        WeightsError: The file cannot be read, or is no official SAM 2 file of the video model.
    """
    state = state_dict_of(read_checkpoint(fetch(source)))
    family = recognise(state)
    found = {key: value for key, value in state.items() if family_named(SAM2).rename(key) == ()}  # type: ignore[misc]
    if family is None or family.name != SAM2 or not found:
        raise WeightsError(
            f"export: {source} holds no video entries under their official names ({family.name if family else 'an unknown layout'}): name "
            f"an original SAM 2 file, such as sam2.1_hiera_small.pt"
        )
    return found


def check_target(path: Path, folder: bool, overwrite: bool) -> None:
    """Stop before any work is done if the result could not be written.

    Args:
        path: A file or folder to be.
        folder: Which of them it shall be.
        overwrite: Replace what is there.

    Raises:
        UserError: There is a folder in place of a file or the reverse, or something is there that must not be replaced.
    """
    if path.exists() and path.is_dir() != folder:
        kind, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"export: {path} is a {kind}, and a {wanted} is to be written: choose another --out")
    if not overwrite and path.exists() and (not folder or any(path.iterdir())):
        raise UserError(f"export: {path} exists already: choose another --out, or pass --overwrite to replace it")


def save(content: Mapping[str, Any], path: Path) -> None:
    """``torch.save`` of tensors and plain containers.

    Raises:
        OSError: It cannot be written.
    """
    try:
        torch.save(dict(content), path)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(str(error)) from error


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A place for files that get into a folder, which is made, when all of them are written; they replace files of their names.

    Raises:
        UserError: They cannot be written.
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
