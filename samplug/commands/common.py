"""What the commands share: OpenMMLab's arguments, turned into a config and a Runner."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

# Sections that a test does not read.
TRAIN_SECTIONS = (
    "train_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "auto_scale_lr",
    "strategy",
    "val_dataloader",
    "val_cfg",
    "val_evaluator",
)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The config file and changes of it."""
    from samplug.commands.options import CfgOptions

    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override settings; a declared variable (data_root=..., img_size=...) changes all that is built from it",
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """OpenMMLab's arguments of commands that build a Runner."""
    add_config_arguments(parser)
    parser.add_argument("--work-dir", help="folder for logs and checkpoints (default: work_dirs/<name of the config>)")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="cpu: leave GPUs alone")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def load_cfg(args: argparse.Namespace) -> Any:
    """The config of parsed common arguments, with work_dir and launcher filled in."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything asks torch for a device

    from samplug.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    return cfg


def build_runner(cfg: Any) -> Any:
    """Build the config's Runner: ``runner_type``, or ``SamplugRunner``.

    Raises:
        ConfigError: The work folder cannot be written, or there is no such Runner.
    """
    import samplug.engine  # noqa: F401
    from samplug.moved import TYPES
    from samplug.registry import RUNNERS
    from samplug.utils.errors import ConfigError

    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cfg.work_dir):
            pass
    except OSError as error:
        raise ConfigError(
            f"work_dir {cfg.work_dir} cannot be written ({error.strerror}): choose another --work-dir"
        ) from error
    cfg.setdefault("runner_type", "SamplugRunner")
    if cfg.runner_type in TYPES:
        raise ConfigError(f"config: runner_type {cfg.runner_type} is {TYPES[cfg.runner_type]} now: change it")
    kind = RUNNERS.get(cfg.runner_type)
    if kind is None:
        raise ConfigError(
            f"config: no runner_type is called {cfg.runner_type!r}: use SamplugRunner, or add its module to custom_imports"
        )
    return kind.from_cfg(cfg)
