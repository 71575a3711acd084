#!/usr/bin/env python
"""Train a small TS-SAM on generated camouflage, or on DATA/images and DATA/masks, and compare it with baselines."""

import argparse
import subprocess
import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.quickstart import quickstart  # inside run: an interruption ends it well from here on

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with images/ and masks/; default: generated scenes")
    parser.add_argument("--out-dir", default="quickstart_results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()

    options = [f"randomness.seed={args.seed}", *args.cfg_options]
    if args.data:
        config = "configs/quickstart_folder.py"
        options.append(f"data_root={args.data}")
    else:
        config = "configs/quickstart.py"
        options.append(f"train_seed={args.seed}")
    try:
        quickstart(config, args.out_dir, options)
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None  # the command has printed what was wrong


if __name__ == "__main__":
    sys.exit(run(main))
