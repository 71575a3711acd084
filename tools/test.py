#!/usr/bin/env python
"""Test a model from a config and a checkpoint."""

import argparse
import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.common import (
        TRAIN_SECTIONS,
        add_common_arguments,
        build_runner,
        load_cfg,
    )  # inside run: an interruption ends it well from here on

    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        "checkpoint",
        help="path, https address or hf://...; 'none': the weights of init_cfg; 'untrained': random weights, as a floor",
    )
    parser.add_argument("--out", metavar="DIR", help="write predicted masks as PNG")
    parser.add_argument("--show-dir", metavar="DIR", help="write overlays")
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation (tta_model and tta_pipeline of the config)"
    )
    args = parser.parse_args()

    cfg = load_cfg(args)
    for section in TRAIN_SECTIONS:
        cfg.pop(section, None)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.out or args.show_dir:
        cfg.default_hooks.visualization = dict(type="OverlayHook", mask_dir=args.out, overlay_dir=args.show_dir)
    if args.tta:
        if not (cfg.get("tta_model") and cfg.get("tta_pipeline")):
            parser.error(f"--tta needs tta_model and tta_pipeline in {args.config}")
        from samplug.engine.hooks.split_leakage import sets_of

        for dataset in sets_of(cfg.test_dataloader.dataset):
            dataset["pipeline"] = cfg.tta_pipeline
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
    build_runner(cfg).test()


if __name__ == "__main__":
    sys.exit(run(main))
