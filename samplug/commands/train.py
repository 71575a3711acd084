"""Train a model from a config."""

import argparse
from pathlib import Path

from samplug.commands.common import add_runner_arguments, announce, build_runner, load_cfg
from samplug.utils.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_runner_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from a checkpoint, or from the latest one in the work directory",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the checkpoints of an earlier training in the work directory"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")


def execute(args: argparse.Namespace) -> None:
    cfg = load_cfg(args)
    if args.amp:
        if not cfg.get("optim_wrapper"):
            raise ConfigError(f"config: {args.config} has no optim_wrapper, which --amp changes and training needs")
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if not cfg.get("auto_scale_lr"):
            raise argparse.ArgumentError(
                None, f"--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {args.config}"
            )
        cfg.auto_scale_lr.enable = True
    if args.resume and args.overwrite:
        raise argparse.ArgumentError(None, "--resume continues the training that --overwrite would replace: give one")
    if args.resume:
        cfg.resume = True
        # MMEngine reads load_from as the checkpoint to resume; the runner starts from this one if there is none.
        cfg.start_from = cfg.get("load_from") if args.resume == "auto" else None
        cfg.load_from = None if args.resume == "auto" else args.resume
    elif args.overwrite:
        cfg.overwrite_work_dir = True
    announce("train", cfg)
    from samplug.engine.work_folder import check_unused

    # Before a large model is built.
    check_unused(Path(cfg.work_dir), cfg.get("load_from"), bool(cfg.get("resume")), bool(cfg.get("overwrite_work_dir")))
    build_runner(cfg).train()
