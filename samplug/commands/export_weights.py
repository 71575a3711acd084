"""Write a model's weights in the layout of SAM's or SAM 2's own files, or for transformers.

LoRA is merged into the encoder.
"""

import argparse

from samplug.commands.common import add_checkpoint, add_config, check_config
from samplug.utils.imports import without_collection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_checkpoint(parser)
    parser.add_argument("--layout", choices=["official", "hf"], required=True, help="hf: a folder for from_pretrained")
    parser.add_argument("--out", required=True, metavar="PATH", help="the file; with --layout hf the folder")
    parser.add_argument(
        "--video-weights",
        metavar="FILE",
        help="original SAM 2 file: its entries of the video model go into the official layout",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def execute(args: argparse.Namespace) -> None:
    check_config(args)
    with without_collection():
        from samplug.commands.published_weights import export_weights

    done = export_weights(
        args.config, args.checkpoint, args.out, args.layout, args.video_weights, args.overwrite, args.cfg_options
    )
    print(f"{done.entries} entries written to {done.path}")
    for note in done.notes:
        print(f"note: {note}")
