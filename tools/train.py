#!/usr/bin/env python
"""Train a model from a config."""

import argparse
import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.common import (
        add_common_arguments,
        build_runner,
        load_cfg,
    )  # inside run: an interruption ends it well from here on

    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from a checkpoint, or from the latest one in the work folder",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")
    args = parser.parse_args()

    cfg = load_cfg(args)
    if args.amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if not cfg.get("auto_scale_lr"):
            parser.error(f"--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {args.config}")
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    build_runner(cfg).train()


if __name__ == "__main__":
    sys.exit(run(main))
