"""Arguments and printed lines that several converters share."""

import argparse
from pathlib import Path
from typing import Any

from samplug.converters.reading import FORMATS


def add_annotations(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of converters that read annotations and write a dataset."""
    parser.add_argument(
        "src",
        type=Path,
        help="COCO: the JSON file; labelme: the folder of JSON files; YOLO: the folder or its data.yaml; label-maps: "
        "the folder of PNG files; instance-masks: the folder with a folder of PNG files for each image",
    )
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images, if the source does not name it")
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


def print_problems(summary: dict[str, Any], folder: Path) -> None:
    """Print a line about images that were left out, if there are any."""
    if problems := len(summary["problems"]):
        print(f"{summary['images_left_out']} images left out, {problems} problems: see {folder / 'summary.json'}")
