"""Arguments that several commands take, and the config and Runner made of them."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from samplug.commands.options import CfgOptions
from samplug.utils.errors import ConfigError
from samplug.utils.imports import without_collection

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


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``--cfg-options``."""
    parser.add_argument("config", help="config file, samplug::FILE of samplug's own, or the name of a model")
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; ``args.cfg_options`` is a dict of dotted keys, empty by default."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="KEY=VALUE",
        help="override settings; a declared variable (data_root=..., img_size=...) changes all that is built from it",
    )


def add_checkpoint(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add ``checkpoint``; ``more`` continues its help."""
    parser.add_argument("checkpoint", help=f"path, https address or hf://...; 'none': the weights of init_cfg{more}")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, which takes effect when it is parsed: GPUs are hidden before anything asks torch for one."""
    parser.add_argument(
        "--device", choices=["auto", "cpu"], default="auto", action=_HideGPUs, help="cpu: leave GPUs alone"
    )


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add OpenMMLab's arguments of commands that build a Runner."""
    add_config(parser)
    parser.add_argument("--work-dir", help="folder for logs and checkpoints (default: work_dirs/<name of the config>)")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    add_device(parser)
    parser.add_argument(
        "--verbose", action="store_true", help="show all that the log file contains: environment, config, hooks, tables"
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


class _HideGPUs(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        setattr(namespace, self.dest, values)
        if values == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""


def check_config(args: argparse.Namespace) -> None:
    """Load the config of :func:`add_config`, so that its errors appear before torch is imported."""
    from samplug.config import load_config

    load_config(args.config, args.cfg_options)


def load_cfg(args: argparse.Namespace) -> Any:
    """Load the config of :func:`add_runner_arguments`, and set its ``work_dir`` and ``launcher``."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))

    from samplug.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.verbose:
        cfg.verbose = True
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(cfg.filename).stem)
    return cfg


def announce(kind: str, cfg: Any) -> None:
    """Print what is about to run before torch and MMEngine are imported; only one of several processes prints."""
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        print(f"{kind}: {cfg.filename} in {cfg.work_dir}, loading", flush=True)


def build_runner(cfg: Any) -> Any:
    """Build the Runner of a config: ``runner_type``, by default ``SamplugRunner``.

    Raises:
        ConfigError: The work directory cannot be written, or there is no such Runner.
    """
    with without_collection():
        import samplug.engine  # noqa: F401
    from samplug.moved import TYPES
    from samplug.registry import RUNNERS

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
            f"config: no runner_type is called {cfg.runner_type!r}: use SamplugRunner, or add its module to "
            "custom_imports"
        )
    return kind.from_cfg(cfg)
