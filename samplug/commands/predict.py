"""Predict images without ground truth: masks, probabilities, overlays, and annotations to correct.

An interrupted run goes on where it was when the same command is given again.
"""

import argparse

from samplug.commands.common import add_checkpoint, add_config, add_device, check_config
from samplug.converters.from_masks import EXPORTS
from samplug.utils.imports import without_collection
from samplug.utils.text import indented


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", help="image files and folders")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="folder for masks/, maps/ and overlays/")
    add_device(parser)
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images or tiles in a forward pass")
    parser.add_argument(
        "--tile",
        type=_tile,
        metavar="N",
        help="predict larger images in tiles of N pixels, 'auto': of the model's input size (default: whole)",
    )
    parser.add_argument("--overlap", type=float, default=0.25, metavar="F", help="least share of a tile that overlaps")
    parser.add_argument("--threshold", type=float, metavar="P", help="foreground threshold (default: the model's, 0.5)")
    parser.add_argument("--bands", type=int, nargs=3, metavar=("R", "G", "B"), help="bands of TIFF files, from 1")
    parser.add_argument("--recursive", action="store_true", help="look into subfolders")
    parser.add_argument("--no-overlay", action="store_true")
    parser.add_argument("--export", nargs="+", choices=list(EXPORTS), default=[], help="annotations of all masks")
    parser.add_argument("--overwrite", action="store_true", help="predict all again, and replace exports")
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: images that cannot be read are no error"
    )


def execute(args: argparse.Namespace) -> None:
    check_config(args)
    with without_collection():
        from samplug.commands.folder_predictions import Settings, predict

    settings = Settings(
        args.config, args.checkpoint, args.cfg_options, args.tile, args.overlap, args.threshold,
        tuple(args.bands) if args.bands else None,
    )  # fmt: skip
    outcome = predict(
        settings, args.images, args.out_dir, None, args.batch_size, args.recursive, not args.no_overlay, args.export,
        args.overwrite, args.on_error,
    )  # fmt: skip
    present = f", {outcome.present} were there already" if outcome.present else ""
    print(f"{outcome.predicted} images predicted into {args.out_dir}{present}")
    for format, number in outcome.objects.items():
        print(f"{number} objects exported to {args.out_dir}/{format}")
    if outcome.failures:
        print(f"{len(outcome.failures)} images left out:\n{indented(outcome.failures.values())}")


def _tile(text: str) -> int | str:
    return text if text == "auto" else int(text)
