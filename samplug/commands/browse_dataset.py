"""Draw the samples that a model is fed, or time the loader on its own.

The samples are exactly those of a training with the same seed.
"""

import argparse

from samplug.commands.common import add_config
from samplug.utils.imports import without_collection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("-p", "--phase", choices=["train", "val", "test"], default="train")
    parser.add_argument("-o", "--out-dir", default="browse", help="folder for pictures (default: browse)")
    parser.add_argument("-n", "--number", type=int, default=16, help="samples, evenly spaced over the dataset")
    parser.add_argument(
        "-m",
        "--mode",
        choices=["transformed", "original", "concat"],
        default="transformed",
        help="after the pipeline, after loading, or both side by side",
    )
    parser.add_argument("--seed", type=int, help="seed of the training (default: the config's, or 0)")
    parser.add_argument("--epoch", type=int, default=0, help="epoch whose samples are drawn; the first is 0")
    parser.add_argument("--prompts", action="store_true", help="draw a promptable model's simulated first prompts, too")
    parser.add_argument(
        "--checkpoint", help="weights to predict masks with: whole interactions are drawn, with the corrections"
    )
    parser.add_argument("--speed", type=int, metavar="BATCHES", help="time the loader over these batches; no pictures")


def execute(args: argparse.Namespace) -> None:
    from samplug.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    with without_collection():
        from samplug.commands.sample_pictures import browse, time_loader
    seed = args.seed if args.seed is not None else cfg.get("randomness", {}).get("seed") or 0
    if args.speed is not None:
        speed = time_loader(cfg, args.phase, args.speed, seed)
        loader = cfg[f"{args.phase}_dataloader"]
        print(
            f"{args.phase}: {speed.images_per_second:.1f} images/s over {speed.batches} batches after the first, which "
            f"took {speed.first:.2f} s (batch_size={loader.get('batch_size')}, "
            f"num_workers={loader.get('num_workers', 0)})"
        )
        return
    drawn = browse(
        cfg, args.out_dir, args.phase, args.number, args.mode, seed, args.epoch, args.prompts, args.checkpoint
    )
    print(f"{drawn} pictures and sheet.jpg written to {args.out_dir}")
