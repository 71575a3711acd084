"""Make process groups that MMEngine does not make: without GPUs, or of a single process."""

import datetime
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from samplug.registry import MODEL_WRAPPERS
from samplug.utils.errors import ConfigError

# Environment variables of each launcher: rank, number of processes, rank on this machine.
_NAMES = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}
_DEFAULT_PORT = "29500"


def join_on_cpu(launcher: str, timeout: float | None = None) -> None:
    """Join the process group over gloo; MMEngine's own function needs a GPU for each process.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``; its environment variables are read.
        timeout: Seconds after which a process stops waiting for another; None: torch's default.

    Raises:
        ConfigError: The variables are missing, so the command was not started by this launcher.
    """
    names = _NAMES[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        started = {"pytorch": "tools/dist_train.sh or torchrun", "slurm": "srun", "mpi": "mpirun"}[launcher]
        raise ConfigError(
            f"launch: --launcher {launcher} without {', '.join(missing)}: start the command with {started}"
        )
    for name, value in zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), names, strict=True):
        os.environ[name] = os.environ[value]
    os.environ.setdefault("MASTER_PORT", _DEFAULT_PORT)
    os.environ.setdefault("MASTER_ADDR", _first_node(os.environ))
    dist.init_process_group("gloo", timeout=None if timeout is None else datetime.timedelta(seconds=timeout))


def wrapper_on_cpu(cfg: Mapping[str, Any], wrapper_cfg: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the config of the model wrapper for data parallelism on CPUs.

    Args:
        cfg: Config of the run.
        wrapper_cfg: ``model_wrapper_cfg`` of the run, if set.
    """
    default = dict(broadcast_buffers=False, find_unused_parameters=cfg.get("find_unused_parameters", False))
    wrapper = {"type": "MMDistributedDataParallel", **(default if wrapper_cfg is None else wrapper_cfg)}
    kind = MODEL_WRAPPERS.get(wrapper["type"]) if isinstance(wrapper["type"], str) else wrapper["type"]
    if isinstance(kind, type) and issubclass(kind, DistributedDataParallel):
        wrapper.setdefault("device_ids", None)  # MMEngine's default needs a GPU for each process
    return wrapper


def join_alone() -> None:
    """Make a process group of this process alone, for code that needs a group."""
    os.environ.setdefault("LOCAL_RANK", "0")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def _first_node(environment: Mapping[str, str]) -> str:
    """Return the host of rank 0: the first node of a Slurm job, otherwise this machine."""
    nodes = environment.get("SLURM_NODELIST")
    if not nodes:
        return "127.0.0.1"
    listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    return listed.stdout.split()[0]
