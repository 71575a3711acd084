"""Arguments and printed lines that several converters share."""

import argparse
import sys
from pathlib import Path
from typing import Any

from samplug.converters.checking import CROWD, IN_BAD_IMAGES, NOT_CHOSEN
from samplug.converters.reading import FORMATS

_REASONS = {
    CROWD: "crowd areas (--crowd foreground converts them)",
    NOT_CHOSEN: "of classes that were not chosen",
    "without_pixels": "without a pixel (too small, or outside)",
    IN_BAD_IMAGES: "in images that were left out",
}


def add_annotations(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of converters that read annotations and write a dataset."""
    parser.add_argument(
        "src",
        type=Path,
        help="COCO: the JSON file; labelme: the folder of JSON files; YOLO: the folder or its data.yaml; label-maps: "
        "the folder of PNG files; instance-masks: the folder with a folder of PNG files for each image; ade20k: see "
        "prepare_data.py ade20k",
    )
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images, if the source does not name it")
    parser.add_argument(
        "--mask-suffix",
        metavar="END",
        help="end of the names of label maps and instance masks that is not part of the name, such as _cp_masks.png",
    )
    parser.add_argument("--format", choices=["auto", *FORMATS], default="auto")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes to convert (default: all)")
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: leave out images that have a problem"
    )
    parser.add_argument(
        "--link", choices=["copy", "symlink", "none"], default="copy", help="how images get into DST (none: not at all)"
    )
    add_overwrite(parser)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier run")


def writing_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of :func:`add_annotations` that ``to_masks`` and ``to_sa1b`` share."""
    return dict(skip_problems=args.on_error == "skip", link=args.link, overwrite=args.overwrite)


def print_left_out(summary: dict[str, Any]) -> None:
    """Print how many objects were left out, by reason; print a warning if no object was converted."""
    counts = summary["objects_left_out"]
    reasons = ", ".join(f"{counts[reason]} {text}" for reason, text in _REASONS.items() if counts[reason])
    if not summary["objects"]:
        why = f"objects left out: {reasons}" if reasons else "it has no objects"
        print(f"warning: no object of {summary['source']} was converted; {why}", file=sys.stderr)
    elif reasons:
        print(f"objects left out: {reasons}")


def print_problems(summary: dict[str, Any], folder: Path) -> None:
    """Print a line about images that were left out, if there are any."""
    if problems := len(summary["problems"]):
        print(f"{summary['images_left_out']} images left out, {problems} problems: see {folder / 'summary.json'}")
