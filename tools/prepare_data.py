#!/usr/bin/env python
"""Turn data of other tools into folders that samplug reads."""

import argparse
import sys
from pathlib import Path

from samplug.datasets.converters import FORMATS, Selection, read_annotations, to_masks
from samplug.utils.errors import run


def add_to_masks(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Arguments of ``to-masks``."""
    parser = subparsers.add_parser(
        "to-masks",
        help="COCO, labelme or YOLO annotations to images/ and masks/",
        description="Write images/, masks/ and summary.json from annotations; nothing is written if anything is wrong.",
    )
    parser.add_argument(
        "src", type=Path, help="COCO: the json; labelme: the folder of json files; YOLO: the folder or its data.yaml"
    )
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images, where the source does not say it")
    parser.add_argument("--format", choices=["auto", *FORMATS], default="auto")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="foreground classes (default: all)")
    parser.add_argument(
        "--ignore-classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="classes that count neither as fore- nor background",
    )
    parser.add_argument(
        "--crowd",
        choices=["ignore", "foreground", "skip"],
        default="ignore",
        help="crowd areas: pixels to ignore, foreground, or not drawn",
    )
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: leave out images that have a problem"
    )
    parser.add_argument(
        "--link", choices=["copy", "symlink", "none"], default="copy", help="how images get into DST (none: not at all)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier run")
    parser.set_defaults(function=run_to_masks)


def run_to_masks(args: argparse.Namespace) -> None:
    """Convert, and print what there is to know before training on it."""
    summary = to_masks(
        read_annotations(args.src, args.format, args.images),
        args.dst,
        Selection(args.classes, args.ignore_classes, args.crowd),
        skip_problems=args.on_error == "skip",
        link=args.link,
        overwrite=args.overwrite,
    )
    empty, problems = len(summary["images_without_regions"]), len(summary["problems"])
    print(f"{summary['images']} masks in {args.dst / 'masks'}")
    if empty:
        print(f"{empty} of them are empty: nothing of the classes is annotated there")
    if problems:
        print(f"{summary['images_left_out']} images left out, {problems} problems: see {args.dst / 'summary.json'}")
    if summary["ignored_pixels"]:
        values = ", ".join(f"{name}={value}" for name, value in summary["mask_values"].items())
        print(f"{summary['ignored_pixels']:,} pixels are to be ignored: write mask_values=dict({values}) in the config")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    add_to_masks(subparsers)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    sys.exit(run(main))
