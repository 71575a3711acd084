"""Convert images and masks to videos of one frame, the layout that SAM 2's trainer reads.

Write JPEGImages/NAME/00000.jpg, Annotations/NAME/00000.png, train_list.txt and val_list.txt; nothing is written if
anything is wrong.
"""

import argparse
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.converters.annotations import is_text_name
from samplug.converters.arguments import add_overwrite
from samplug.converters.checking import in_parallel
from samplug.converters.writing import check_destination
from samplug.datasets.mask_values import MaskSpec, MaskValues, decide_mask_values
from samplug.datasets.pairing import Pair, match_files
from samplug.imaging.files import read_mask
from samplug.imaging.listing import list_files
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.files import replace_file, write_text
from samplug.utils.text import listed_lines

_SAMPLED = 64
_NOT_TEXT = "has a name that is not UTF-8, as lists of videos require: rename it"
LISTS = {"train": "train_list.txt", "val": "val_list.txt"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("masks", type=Path, help="folder of masks of the same names")
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="share of val_list.txt (default: 0.2)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the shuffle before the split (default: 42)")
    parser.add_argument("--foreground", type=int, nargs="+", metavar="V", help="mask values (default: 0/1 or 0/255)")
    parser.add_argument("--background", type=int, nargs="+", default=[0], metavar="V", help="all others (default: 0)")
    add_overwrite(parser)


def execute(args: argparse.Namespace) -> None:
    values = dict(foreground=args.foreground, background=args.background) if args.foreground else "auto"
    lists = to_videos(args.images, args.masks, args.dst, args.val_fraction, args.seed, values, args.overwrite)
    print(f"{sum(lists.values())} videos in {args.dst}: {', '.join(f'{n} {part}' for part, n in lists.items())}")


def to_videos(
    images: Path,
    masks: Path,
    destination: Path,
    val_fraction: float = 0.2,
    seed: int = 42,
    mask_values: str | Mapping[str, Any] = "auto",
    overwrite: bool = False,
) -> dict[str, int]:
    """Write each pair as a video of one frame, ``train_list.txt`` and ``val_list.txt``.

    A pair becomes ``JPEGImages/<name>/00000.jpg`` and ``Annotations/<name>/00000.png`` (values 0 and 255). Images are
    copied and keep their suffix. The lists are a seeded shuffle of the sorted names, the same on every machine.
    Everything is checked before the first file is written. Pixels that ``mask_values`` ignores become background,
    because SAM 2 has no ignored pixels.

    Args:
        images: Folder of images.
        masks: Folder of masks with the same names.
        destination: Folder to write.
        val_fraction: Share of the names in ``val_list.txt``; the number is rounded.
        seed: Seed of the shuffle.
        mask_values: Meaning of the mask values, see :class:`samplug.datasets.mask_values.MaskValues`; ``'auto'``
            decides between 0/1 and 0/255.
        overwrite: Replace the files of an earlier run.

    Returns:
        Number of names in each list.

    Raises:
        DataError: Files have no partner or are broken, masks have another size (one message lists all), or files would
            be overwritten.
        ConfigError: ``val_fraction`` is not in [0, 1).
    """
    from samplug.datasets.scan import scan_pairs  # imports torch

    if not 0 <= val_fraction < 1:
        raise ConfigError(f"to-videos: val_fraction={val_fraction} must be in [0, 1)")
    pictures, problems = list_files(images)
    files, more = list_files(masks)
    found = match_files(pictures, files, option="")
    problems |= more | found.problems
    problems |= {str(pair.image): _NOT_TEXT for pair in found.pairs if not is_text_name(pair.name)}
    spec: MaskSpec = "0/255"
    if found.pairs:
        sampled = [pair.mask for pair in found.pairs[:: max(1, len(found.pairs) // _SAMPLED)]]
        spec = decide_mask_values(sampled) if mask_values == "auto" else MaskValues.parse(mask_values).spec
        facts = scan_pairs(found.pairs, spec, "stop", None)
        problems |= {name: fact.error for name, fact in facts.items() if fact.error}
    if problems or not found.pairs:
        raise DataError(
            f"to-videos: {len(problems)} problems, {len(found.pairs)} pairs in {images} and {masks}, nothing was "
            f"written:\n{listed_lines(problems, 50)}"
        )
    lists = _split([pair.name for pair in found.pairs], val_fraction, seed)
    targets = {pair: _targets(pair, destination) for pair in found.pairs}
    planned = [path for pair in targets.values() for path in pair]
    planned += [destination / name for name in LISTS.values()]
    frames = destination / "JPEGImages"
    sources = (path for pair in found.pairs for path in pair.files)
    check_destination("to-videos", planned, sources, frames, planned, overwrite)

    def write(pair: Pair) -> None:
        image, mask = targets[pair]
        replace_file(image, lambda path: shutil.copyfile(pair.image, path))
        content = cv2.imencode(".png", _foreground(pair.mask, spec))[1].tobytes()
        replace_file(mask, lambda path: path.write_bytes(content))

    list(in_parallel(write, found.pairs, "writing"))
    for part, names in lists.items():
        write_text(destination / LISTS[part], "\n".join(names))
    return {part: len(names) for part, names in lists.items()}


def _split(names: list[str], val_fraction: float, seed: int) -> dict[str, list[str]]:
    """Split the names into lists, in shuffled order."""
    shuffled = random.Random(seed).sample(names, len(names))
    validated = round(val_fraction * len(names))
    return {"train": shuffled[validated:], "val": shuffled[:validated]}


def _targets(pair: Pair, destination: Path) -> tuple[Path, Path]:
    frame = f"00000{pair.image.suffix.lower()}"
    return destination / "JPEGImages" / pair.name / frame, destination / "Annotations" / pair.name / "00000.png"


def _foreground(mask: Path, spec: MaskSpec) -> NDArray[np.uint8]:
    """Read a mask as (H, W) uint8: 255 foreground, 0 elsewhere."""
    labels = MaskValues.parse(spec).labels(read_mask(mask), mask)
    return np.where(labels == 1, 255, 0).astype(np.uint8)
