"""Generate masks of everything in images: COCO RLE, mask pictures, overlays, and annotations to correct.

An interrupted run goes on where it was when the same command is given again.
"""

import argparse

from samplug.commands.common import add_checkpoint, add_config, add_device, check_config
from samplug.commands.options import CfgOptions
from samplug.converters.from_masks import EXPORTS
from samplug.utils.imports import without_collection
from samplug.utils.text import indented, listed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", help="image files and folders")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="folder for json/, masks_output/ and overlays/")
    add_device(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="published settings: sam, sam2, texturesam (default: the config's model.mask_generator, else sam or sam2, "
        "as the model is)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="NAME=VALUE",
        dest="settings",
        help="change settings of the generator: points_per_side=64, pred_iou_thresh=0.7, max_memory_mb=4096, ...",
    )
    parser.add_argument("--bands", type=int, nargs=3, metavar=("R", "G", "B"), help="bands of TIFF files, from 1")
    parser.add_argument("--recursive", action="store_true", help="look into subfolders")
    parser.add_argument("--no-masks", action="store_true", help="write no mask_I_NAME.png; the masks are in json/")
    parser.add_argument("--no-overlay", action="store_true")
    parser.add_argument("--export", nargs="+", choices=list(EXPORTS), default=[], help="annotations of all masks")
    parser.add_argument("--overwrite", action="store_true", help="generate all again, and replace exports")
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: images that cannot be read are no error"
    )


def execute(args: argparse.Namespace) -> None:
    check_config(args)
    with without_collection():
        from samplug.commands.folder_masks import Settings, generate

    settings = Settings(
        args.config, args.checkpoint, args.cfg_options, args.preset, args.settings,
        tuple(args.bands) if args.bands else None,
    )  # fmt: skip
    outcome = generate(
        settings, args.images, args.out_dir, None, args.recursive, not args.no_masks, not args.no_overlay, args.export,
        args.overwrite, args.on_error,
    )  # fmt: skip
    counts = outcome.masks
    present = f"; {outcome.present} were there already" if outcome.present else ""
    print(f"{len(counts)} images with {sum(counts.values())} masks in {args.out_dir}{present}")
    if none := [name for name, number in counts.items() if not number]:
        print(f"{len(none)} images have no masks, their json/NAME.json has an empty list: {listed(none)}")
    for format, number in outcome.objects.items():
        print(f"{number} objects exported to {args.out_dir}/{format}")
    if outcome.failures:
        print(f"{len(outcome.failures)} images left out:\n{indented(outcome.failures.values())}")
