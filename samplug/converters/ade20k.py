"""Convert objects of ADE20K to images with SA-1B's JSON files, or to one map of objects an image.

Write images/ with a JSON file beside each image, to train with, or unified_NAME.png, to score with TextureSegDataset,
from instance_000_NAME.png or from maps of all objects of an image; nothing is written if anything is wrong.
"""

import argparse
from pathlib import Path

from samplug.converters.annotations import Annotations
from samplug.converters.arguments import add_overwrite, print_left_out, print_problems, writing_options
from samplug.converters.reading import read_annotations
from samplug.converters.to_sa1b import to_sa1b
from samplug.converters.to_unified import to_unified


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("src", type=Path, help="folder of instance_000_NAME.png, or of a map of objects for each image")
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument("--images", type=Path, metavar="DIR", required=True, help="folder of images")
    parser.add_argument(
        "--to", choices=["sa1b", "unified"], default="sa1b",
        help="sa1b: images and JSON files (default); unified: one map an image, small objects on top",
    )  # fmt: skip
    parser.add_argument(
        "--mask-suffix", metavar="END", help="end of the names of maps that is not part of the name, such as _seg.png"
    )
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: leave out images that have a problem"
    )
    parser.add_argument(
        "--link", choices=["copy", "symlink", "none"], default="copy",
        help="how images get into DST (none: not at all); for sa1b",
    )  # fmt: skip
    add_overwrite(parser)


def execute(args: argparse.Namespace) -> None:
    annotations = read_annotations(args.src, "ade20k", args.images, args.mask_suffix)
    (_unified if args.to == "unified" else _sa1b)(annotations, args)


def _sa1b(annotations: Annotations, args: argparse.Namespace) -> None:
    summary = to_sa1b(annotations, args.dst, **writing_options(args))
    print(f"{summary['objects']} objects of {summary['images']} images in {args.dst / 'images'}")
    print_left_out(summary)
    print_problems(summary, args.dst)


def _unified(annotations: Annotations, args: argparse.Namespace) -> None:
    summary = to_unified(annotations, args.dst, args.on_error == "skip", args.overwrite)
    print(f"{summary['objects']} objects of {summary['images']} images in {args.dst}")
    if covered := summary["objects_covered"]:
        print(f"{covered} of the objects have no pixel that no smaller object covers")
    if deep := summary["images_of_16_bits"]:
        print(
            f"{len(deep)} maps have more than 255 objects and 16 bits, {deep[0]} for example: TextureSAM's scripts and "
            "--mode texturesam read 8 bits"
        )
    print_problems(summary, args.dst)
