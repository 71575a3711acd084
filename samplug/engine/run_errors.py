"""Turn failures of memory, workers and disks into errors that explain how to continue."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import BaseLoop, Runner

from samplug.datasets.configs import datasets_of
from samplug.engine.work_folder import last_checkpoint
from samplug.registry import DATASETS
from samplug.utils.errors import UserError, chain
from samplug.utils.files import WriteError
from samplug.utils.open_files import too_many_open_files
from samplug.utils.text import gib, listed

# The allocator of CPU memory raises a plain RuntimeError.
_CPU_ALLOCATOR = re.compile(r"can't allocate memory|not enough memory", re.IGNORECASE)
_WORKER = re.compile(
    r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (?:is killed by signal: (?P<signal>[^.]*)|exited unexpectedly)"
)


_OPEN_FILES = (
    "data: this process or a worker cannot open more files: raise the limit (ulimit -n 4096), or use fewer workers "
    "(train_dataloader.num_workers=0), and continue with --resume: the checkpoints written so far are complete"
)


class OutOfMemory(UserError, RuntimeError):
    """Memory ran out; the message lists settings that need less, with estimates."""


class LoaderDied(UserError, RuntimeError):
    """A worker of the dataloader was killed or exited unexpectedly."""


class SaveError(UserError, OSError):
    """A checkpoint could not be written; the earlier ones are whole."""


@contextmanager
def explained(runner: Runner) -> Iterator[None]:
    """Convert failures of memory, workers and disks in the block into errors with remedies.

    Raises:
        OutOfMemory: The memory of a GPU or of the machine is full.
        LoaderDied: A worker was killed or exited without a Python error, or no more files could be opened.
        WriteError: The disk is full.
    """
    try:
        with full_disks_named(runner.work_dir):
            yield
    except UserError:
        raise
    except Exception as error:
        # torch reports a lost worker in a signal handler, which raises at whatever line the main process executes. Code
        # there may catch that error and raise another one (for example MMEngine's bare except around the text of a
        # config), so all causes are searched.
        for cause in (*chain(error), *_lost_worker(error)):
            if isinstance(cause, torch.OutOfMemoryError | MemoryError) or (
                isinstance(cause, RuntimeError) and _CPU_ALLOCATOR.search(str(cause))
            ):
                raise OutOfMemory(out_of_memory_message(runner, cause)) from error
            if too_many_open_files(cause):
                raise LoaderDied(_OPEN_FILES) from error
            if isinstance(cause, RuntimeError) and (died := _WORKER.search(str(cause))):
                raise LoaderDied(_worker_message(runner, died["signal"])) from error
        raise


@contextmanager
def stop_explained(runner: Runner) -> Iterator[None]:
    """Add the checkpoint to resume from to a KeyboardInterrupt.

    Raises:
        KeyboardInterrupt: It was raised in the block; now with a message.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_stop_message(runner)) from stop


def _stop_message(runner: Runner) -> str:
    train_loop = runner._train_loop
    where = f"at iteration {runner.iter} of {runner.max_iters}" if isinstance(train_loop, BaseLoop) else "at the start"
    name = last_checkpoint(runner.work_dir)
    if name is None:
        return f"{where}; {runner.work_dir} has no checkpoint yet"
    return f"{where}; the last checkpoint is {name}: go on with --resume"


@contextmanager
def full_disks_named(folder: str | Path) -> Iterator[None]:
    """Name the file, or ``folder``, in errors of full disks, which any code of MMEngine may raise.

    Raises:
        WriteError: The disk or a quota is full, or the disk cannot be written.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, UserError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        raise WriteError.of(error.filename or f"a file in {folder}", error) from error


def _lost_worker(error: Exception) -> list[RuntimeError]:
    """Ask torch for a dead worker, if a connection broke before the signal arrived."""
    if isinstance(error, EOFError | ConnectionError):
        try:
            torch._C._error_if_any_worker_fails()
        except RuntimeError as lost:
            return [lost]
    return []


def out_of_memory_message(runner: Runner, error: BaseException) -> str:
    """Describe the request that failed, the use of memory, and settings that lower it and are not used yet.

    Activations are estimated as the memory in use less parameters, gradients and optimiser states; savings are in
    proportion to them.
    """
    model = unwrapped(runner)
    fixed = fixed_bytes(model)
    used = used_bytes()
    activations = max(0, used - sum(fixed.values()))
    lines = [
        f"memory: {str(error).strip().splitlines()[0]}",
        f"  in use: {gib(used)}, of which parameters {gib(fixed['parameters'])}, their gradients "
        f"{gib(fixed['gradients'])}, AdamW's states {gib(fixed['optimiser'])}, activations and the rest about "
        f"{gib(activations)}",
        "  settings that need less (--cfg-options):",
        *(f"  * {line}" for line in memory_advice(runner.cfg, model, activations)),
        "  The checkpoints written so far are whole: change the setting and add --resume.",
    ]
    return "\n".join(lines)


def unwrapped(runner: Runner) -> torch.nn.Module:
    """Return the model of a Runner, without wrappers if the Runner has a ``bare_model``."""
    return runner.bare_model if hasattr(runner, "bare_model") else runner.model


def fixed_bytes(model: torch.nn.Module) -> dict[str, int]:
    """Return the bytes of parameters and buffers, of gradients, and of AdamW's two moments in the same precision."""
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    tensors = [*model.parameters(), *model.buffers()]
    return dict(parameters=sum(t.numel() * t.element_size() for t in tensors), gradients=trained, optimiser=2 * trained)


def memory_advice(cfg: Any, model: torch.nn.Module, activations: int) -> list[str]:
    """Collect settings that the run does not use yet and that would lower its memory.

    A module of the model, or the class of the training dataset, takes part by a method ``memory_advice(cfg,
    activations)`` that returns lines such as ``'model.backbone.with_cp=True: ...'``.

    Args:
        cfg: The config of the run.
        model: Without a data-parallel wrapper.
        activations: Bytes of the activations in use.
    """
    loader, optim_wrapper = cfg.get("train_dataloader") or {}, cfg.get("optim_wrapper") or {}
    kinds = [dataset.get("type") for dataset in datasets_of(loader.get("dataset"))]
    with DATASETS.switch_scope_and_registry(None) as registry:  # of the config's default scope
        datasets = [registry.get(kind) if isinstance(kind, str) else kind for kind in kinds]
    lines: dict[str, None] = {}
    for part in (*model.modules(), *datasets):
        advise: Any = getattr(part, "memory_advice", None)
        if advise is not None:
            lines |= dict.fromkeys(advise(cfg, activations))
    batch, accumulated = loader.get("batch_size", 1), optim_wrapper.get("accumulative_counts", 1)
    found = list(lines)
    if batch > 1:
        found.append(
            f"train_dataloader.batch_size={batch // 2} "
            f"optim_wrapper.accumulative_counts={accumulated * batch / (batch // 2):.0f}: the same "
            f"samples per step; about {gib(activations * (1 - batch // 2 / batch))} less"
        )
    if "Amp" not in str(optim_wrapper.get("type", "")):
        found.append(f"--amp (bfloat16): up to {gib(activations / 2)} less")
    if workers := loader.get("num_workers", 0):
        found.append(f"train_dataloader.num_workers={workers // 2}: if the machine's memory ran out, not the GPU's")
    return found


def save_message(path: Path, error: OSError) -> str:
    """Describe why a checkpoint could not be written, and name the earlier checkpoints, which are whole."""
    reason = WriteError.of(path, error).strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += ", or keep fewer checkpoints (default_hooks.checkpoint.max_keep_ckpts=1)"
    whole = sorted(p.name for p in path.parent.glob("*.pth")) if path.parent.is_dir() else []
    return (
        f"checkpoint: {path} cannot be written: {reason}. Complete checkpoints: {listed(whole) or 'none'}; --resume "
        "goes on from the last one"
    )


def _worker_message(runner: Runner, signal: str | None) -> str:
    workers = (runner.cfg.get("train_dataloader") or {}).get("num_workers", 0)
    how = f"was killed by the system ({signal.strip()})" if signal else "ended unexpectedly"
    return (
        f"data: a worker of the dataloader {how}, most often because the memory or /dev/shm is full: use fewer workers "
        f"(train_dataloader.num_workers={workers // 2} instead of {workers}) or smaller "
        "batches, and continue with --resume: the checkpoints written so far are complete"
    )


def used_bytes() -> int:
    """Return the peak of memory in bytes: allocated on the GPU, or resident in this process if there is no GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
