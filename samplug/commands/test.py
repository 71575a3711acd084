"""Test a model from a config and a checkpoint."""

import argparse

from samplug.commands.common import (
    TRAIN_SECTIONS,
    add_checkpoint,
    add_runner_arguments,
    announce,
    build_runner,
    load_cfg,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    add_checkpoint(parser, "; 'untrained': random weights, as a floor")
    parser.add_argument("--out", metavar="DIR", help="write predicted masks as PNG")
    parser.add_argument("--show-dir", metavar="DIR", help="write overlays")
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation (tta_model and tta_pipeline of the config)"
    )


def execute(args: argparse.Namespace) -> None:
    cfg = load_cfg(args)
    for section in TRAIN_SECTIONS:
        cfg.pop(section, None)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.out or args.show_dir:
        overlay = dict(type="OverlayHook", mask_dir=args.out, overlay_dir=args.show_dir)
        cfg.default_hooks = {**(cfg.get("default_hooks") or {}), "visualization": overlay}
    if args.tta:
        if not (cfg.get("tta_model") and cfg.get("tta_pipeline")):
            raise argparse.ArgumentError(None, f"--tta needs tta_model and tta_pipeline in {args.config}")
        from samplug.datasets.configs import with_pipelines

        cfg.test_dataloader.dataset = with_pipelines(cfg.test_dataloader.dataset, lambda _: cfg.tta_pipeline)
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
    announce("test", cfg)
    build_runner(cfg).test()
