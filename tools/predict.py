#!/usr/bin/env python
"""Predict images without truth: masks, probabilities, overlays, and annotations to correct."""

import argparse
import os
import sys

from samplug.commands.run import run


def _tile(text: str) -> int | str:
    return text if text == "auto" else int(text)


def main() -> None:
    from samplug.commands.common import add_config_arguments  # inside run: an interruption ends it well from here on

    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="path, https address or hf://...; 'none': the weights of init_cfg")
    parser.add_argument("images", nargs="+", help="image files and folders")
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="folder for masks/, maps/ and overlays/")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="cpu: leave GPUs alone")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images or tiles in a forward pass")
    parser.add_argument(
        "--tile",
        type=_tile,
        metavar="N",
        help="predict larger images in tiles of N pixels, 'auto': of the model's frame (default: whole)",
    )
    parser.add_argument("--overlap", type=float, default=0.25, metavar="F", help="share of a tile, at least")
    parser.add_argument("--threshold", type=float, metavar="P", help="of the foreground (default: the model's, 0.5)")
    parser.add_argument("--bands", type=int, nargs=3, metavar=("R", "G", "B"), help="bands of TIFF files, from 1")
    parser.add_argument("--recursive", action="store_true", help="look into subfolders")
    parser.add_argument("--no-overlay", action="store_true")
    parser.add_argument(
        "--export", nargs="+", choices=["coco", "labelme", "yolo"], default=[], help="annotations of all masks"
    )
    parser.add_argument("--overwrite", action="store_true", help="predict all again, and replace exports")
    parser.add_argument(
        "--on-error", choices=["stop", "skip"], default="stop", help="skip: images that cannot be read are no error"
    )
    args = parser.parse_args()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything asks torch for a device

    from samplug.apis.inferencer import listed
    from samplug.commands.predict import Settings, predict

    settings = Settings(
        args.config, args.checkpoint, args.cfg_options or {}, args.tile, args.overlap, args.threshold,
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
        print(f"{len(outcome.failures)} images left out:\n{listed(outcome.failures)}")


if __name__ == "__main__":
    sys.exit(run(main))
