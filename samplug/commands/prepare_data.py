"""The command that turns data of other tools into folders that samplug reads."""

import argparse
from pathlib import Path
from typing import Any

from samplug.converters import (
    FORMATS,
    Selection,
    extract_frames,
    read_annotations,
    to_masks,
    to_sa1b,
    to_videos,
)

Subparsers = argparse._SubParsersAction  # the type has no public name


def add_annotations(parser: argparse.ArgumentParser) -> None:
    """Arguments of the commands that read annotations."""
    parser.add_argument(
        "src",
        type=Path,
        help="COCO: the json; labelme: the folder of json files; YOLO: the folder or its data.yaml; label-maps: the folder of PNG "
        "files; instance-masks: the folder of a folder of PNG files for each image",
    )
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images, where the source does not say it")
    parser.add_argument("--format", choices=["auto", *FORMATS], default="auto")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes that are wanted (default: all)")
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: leave out images that have a problem"
    )
    parser.add_argument(
        "--link", choices=["copy", "symlink", "none"], default="copy", help="how images get into DST (none: not at all)"
    )
    add_overwrite(parser)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """The argument of all commands."""
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier run")


def add_to_masks(subparsers: Subparsers) -> None:
    """Arguments of ``to-masks``."""
    parser = subparsers.add_parser(
        "to-masks",
        help="COCO, labelme or YOLO annotations to images/ and masks/",
        description="Write images/, masks/ and summary.json from annotations; nothing is written if anything is wrong.",
    )
    add_annotations(parser)
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
    parser.set_defaults(function=run_to_masks)


def run_to_masks(args: argparse.Namespace) -> None:
    """Convert, and print what there is to know before training on it."""
    selection = Selection(args.classes, args.ignore_classes, args.crowd)
    summary = to_masks(read_annotations(args.src, args.format, args.images), args.dst, selection, **options(args))
    empty = len(summary["images_without_regions"])
    print(f"{summary['images']} masks in {args.dst / 'masks'}")
    if empty:
        print(f"{empty} of them are empty: nothing of the classes is annotated there")
    print_problems(summary, args.dst)
    if summary["ignored_pixels"]:
        values = ", ".join(f"{name}={value}" for name, value in summary["mask_values"].items())
        print(
            f"{summary['ignored_pixels']:,} pixels are to be ignored: give mask_values=dict({values}) to each dataset of the config"
        )


def add_to_sa1b(subparsers: Subparsers) -> None:
    """Arguments of ``to-sa1b``."""
    parser = subparsers.add_parser(
        "to-sa1b",
        help="annotations, label maps or masks of single objects to images/ with a json beside each image",
        description="Write images/, with a json of its objects beside each image, and summary.json; nothing is written if anything is "
        "wrong.",
    )
    add_annotations(parser)
    parser.add_argument(
        "--crowd", choices=["foreground", "skip"], default="skip", help="crowd areas: objects like others, or left out"
    )
    parser.add_argument("--components", action="store_true", help="each connected part becomes an object")
    parser.set_defaults(function=run_to_sa1b)


def run_to_sa1b(args: argparse.Namespace) -> None:
    """Convert, and print what there is to know before training on it."""
    selection = Selection(args.classes, crowd=args.crowd)
    annotations = read_annotations(args.src, args.format, args.images)
    summary = to_sa1b(annotations, args.dst, selection, args.components, **options(args))
    print(f"{summary['objects']} objects of {summary['images']} images in {args.dst / 'images'}")
    if bare := len(summary["images_without_objects"]):
        print(f"{bare} of the images have no objects")
    if empty := summary["objects_without_pixels"]:
        print(f"{empty} objects without a pixel left out")
    if annotations.format == "label-maps":
        values = sorted(summary["categories"].items(), key=lambda item: int(item[0]))
        counts = ", ".join(f"{value} ({number})" for value, number in values)
        print(f"values and their objects: {counts}; --classes takes some of them alone (255 often means unlabelled)")
    print_problems(summary, args.dst)
    print(f"its data_root: {args.dst / 'images'}")


def options(args: argparse.Namespace) -> dict[str, Any]:
    """What ``to_masks`` and ``to_sa1b`` have in common."""
    return dict(skip_problems=args.on_error == "skip", link=args.link, overwrite=args.overwrite)


def print_problems(summary: dict[str, Any], folder: Path) -> None:
    """The line about what was left out, if anything was."""
    if problems := len(summary["problems"]):
        print(f"{summary['images_left_out']} images left out, {problems} problems: see {folder / 'summary.json'}")


def add_frames(subparsers: Subparsers) -> None:
    """Arguments of ``frames``."""
    parser = subparsers.add_parser(
        "frames", help="video files to JPEGImages/VIDEO/00000.jpg", description="Write the frames of videos as JPEG."
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("dst", type=Path, help="folder that gets JPEGImages/")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only frames 0, N, 2 N, ...")
    parser.add_argument("--max-frames", type=int, metavar="N", help="at most so many of a video")
    add_overwrite(parser)
    parser.set_defaults(function=run_frames)


def run_frames(args: argparse.Namespace) -> None:
    """Extract, and print how many of each video."""
    for name, number in extract_frames(args.videos, args.dst, args.every, args.max_frames, args.overwrite).items():
        print(f"{number} frames in {args.dst / 'JPEGImages' / name}")


def add_to_videos(subparsers: Subparsers) -> None:
    """Arguments of ``to-videos``."""
    parser = subparsers.add_parser(
        "to-videos",
        help="images and masks to videos of one frame",
        description="Write JPEGImages/NAME/00000.jpg, Annotations/NAME/00000.png, train_list.txt and val_list.txt; nothing is written "
        "if anything is wrong.",
    )
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("masks", type=Path, help="folder of masks of the same names")
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="share of val_list.txt (default: 0.2)")
    parser.add_argument("--seed", type=int, default=42, help="of the shuffle before the split (default: 42)")
    parser.add_argument("--foreground", type=int, nargs="+", metavar="V", help="mask values (default: 0/1 or 0/255)")
    parser.add_argument("--background", type=int, nargs="+", default=[0], metavar="V", help="all others (default: 0)")
    add_overwrite(parser)
    parser.set_defaults(function=run_to_videos)


def run_to_videos(args: argparse.Namespace) -> None:
    """Convert, and print the lengths of the lists."""
    values = dict(foreground=args.foreground, background=args.background) if args.foreground else "auto"
    lists = to_videos(args.images, args.masks, args.dst, args.val_fraction, args.seed, values, args.overwrite)
    print(f"{sum(lists.values())} videos in {args.dst}: {', '.join(f'{n} {part}' for part, n in lists.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn data of other tools into folders that samplug reads.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_to_masks, add_to_sa1b, add_frames, add_to_videos):
        add(subparsers)
    args = parser.parse_args()
    args.function(args)
