"""Show a summary of a run on the screen; the log file contains all messages."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.runner import BaseLoop, Runner
from torch import nn

from samplug.datasets.seeding import SeededDataset
from samplug.engine.run_errors import fixed_bytes, unwrapped
from samplug.utils.text import gib, listed

_MOST_LINES = 3
# Messages of MMEngine at every start that do not concern the run.
_NOISE = re.compile(r"\bdeprecated\b|SyncBatchNorm \(SyncBN\) layers|^Checkpoints will be saved to")
_FOREVER = 10**9


class ScreenFilter(logging.Filter):
    """Filter for log messages on the screen.

    Until :attr:`begun`, it hides messages of more than three lines (environment, config, hooks, tables) and messages
    that do not concern the run, such as deprecations within MMEngine.

    Attributes:
        begun: True once the run has begun, from when on tables are shown.
    """

    begun = False

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR or hasattr(record, "to_screen"):
            return True
        message = record.getMessage()
        if _NOISE.search(message):
            return False
        return self.begun or record.levelno >= logging.WARNING or message.count("\n") < _MOST_LINES

    @classmethod
    def of(cls, logger: logging.Logger) -> "ScreenFilter":
        """Return a new filter, added to a logger's handlers that write to a stream and not to a file."""
        screen = cls()
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(screen)
        return screen


def describe_run(runner: Runner, kind: str) -> str:
    """Describe a run before it begins, in fewer than 40 lines.

    Args:
        runner: Runner with built model, loops and optimisers, and loaded weights.
        kind: ``'train'``, ``'val'`` or ``'test'``.
    """
    training = kind == "train"
    loops = (
        {"train": runner._train_loop, "val": runner._val_loop} if training else {kind: getattr(runner, f"_{kind}_loop")}
    )
    lines = [
        f"{kind}: {_name(runner)}",
        f"  device     {_device(runner)}",
        *(f"  {phase:9}  {_data(loop)}" for phase, loop in loops.items() if isinstance(loop, BaseLoop)),
        *_model(unwrapped(runner), runner.optim_wrapper if training else None),
        f"  weights    {_weights(runner, training)}",
    ]
    if training:
        lines += [f"  memory     {_memory(unwrapped(runner))}", *_schedule(runner)]
    lines.append(f"  files      {_relative(runner.work_dir)}; all messages, config and environment: {_log(runner)}")
    if training:
        lines.append("  to stop    Ctrl-C; --resume goes on from the latest checkpoint")
    return "\n".join(lines)


def _name(runner: Runner) -> str:
    return _relative(runner.cfg.filename) if runner.cfg.filename else runner.experiment_name


def _log(runner: Runner) -> str:
    return _relative(getattr(runner.logger, "log_file", None) or runner.log_dir)


def _relative(path: str | os.PathLike[str]) -> str:
    """Return a path relative to the current folder if it is inside, else unchanged."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _device(runner: Runner) -> str:
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(torch.cuda.current_device())
        text = f"{found.name}, {gib(found.total_memory)}"
    elif (device := get_device()) != "cpu":
        text = device
    else:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        why = "GPUs are hidden, as by --device cpu" if hidden else "no GPU found"
        text = f"CPU: {why}; threads: {torch.get_num_threads()}"
    return text + (f"; {runner.world_size} processes" if runner.world_size > 1 else "")


def _data(loop: Any) -> str:
    loader, dataset = loop.dataloader, loop.dataloader.dataset
    dataset = dataset._drawn if isinstance(dataset, SeededDataset) else dataset
    try:
        size = f"{len(dataset):,} samples"
    except TypeError:  # an endless dataset
        size = "endless samples"
    name = getattr(dataset, "name", None) or type(dataset).__name__
    batch = f", batch size {loader.batch_size}" if loader.batch_size else ""
    return f"{name}: {size}{batch}, {loader.num_workers} workers"


def _weights(runner: Runner, training: bool) -> str:
    """Name the source files of the weights."""
    if training and runner.iter:
        return f"of a checkpoint, after iteration {runner.iter:,}"
    if runner._load_from and runner._load_from != "none":
        return str(runner._load_from)
    files: dict[str, None] = {}
    for module in runner.model.modules():
        cfg: Any = getattr(module, "init_cfg", None)
        for own in cfg if isinstance(cfg, list) else [cfg]:
            if isinstance(own, dict) and own.get("checkpoint"):
                files[str(own["checkpoint"])] = None
    return listed(files, 3) or "random"


def _model(model: nn.Module, optim_wrapper: Any) -> Iterator[str]:
    """Yield the model's name and, for training, a line for each part: parameters, trained parameters, rates."""
    total, trained = _count(model.parameters())
    line = f"  model      {type(model).__name__}, {total:,} parameters"
    if optim_wrapper is None:
        yield line
        return
    yield f"{line}, {trained:,} trained"
    rates = {id(value): group["lr"] for group in _groups(optim_wrapper) for value in group["params"]}
    several = len(set(rates.values())) > 1
    rows = []
    for name, part in model.named_children():
        total, trained = _count(part.parameters())
        if total:
            own = [rates[id(value)] for value in part.parameters() if id(value) in rates]
            share = "all trained" if trained == total else f"{trained:,} trained" if trained else "frozen"
            rows.append((name, f"{total:,}", share, f"lr {_range(own)}" if own and several else ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, size, share, rate in rows:
        line = f"{name:{widths[0]}}  {size:>{widths[1]}}  {share:{widths[2]}}  {rate}"
        yield f"             {line.rstrip()}"


def _count(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    """Return the number of parameters, and of trained parameters."""
    sizes = [(value.numel(), value.requires_grad) for value in parameters]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)


def _memory(model: nn.Module) -> str:
    parts = fixed_bytes(model)
    return (
        f"parameters {gib(parts['parameters'])}, gradients and optimiser "
        f"{gib(parts['gradients'] + parts['optimiser'])}; activations come on top (logged after the first iterations)"
    )


def _schedule(runner: Runner) -> Iterator[str]:
    """Yield the optimiser's current settings and schedule, after a checkpoint has been loaded."""
    wrappers, groups = _wrappers(runner.optim_wrapper), list(_groups(runner.optim_wrapper))
    kinds = " and ".join(dict.fromkeys(type(wrapper.optimizer).__name__ for wrapper in wrappers))
    now = _range(group["lr"] for group in groups)
    full = _range(group.get("initial_lr", group["lr"]) for group in groups)
    decays = [group["weight_decay"] for group in groups if "weight_decay" in group]
    parts = [kinds, f"lr {now}" + (f" now, {full} before the schedule's factors" if now != full else "")]
    if decays:
        parts.append(f"weight decay {_range(decays)}")
    if (steps := max(getattr(wrapper, "_accumulative_counts", 1) for wrapper in wrappers)) > 1:
        parts.append(f"a step every {steps} iterations")
    yield f"  optimiser  {', '.join(parts)}"
    loop = runner.train_loop
    length = f"{loop.max_iters:,} iterations" + (f" in {loop.max_epochs} epochs" if loop.max_epochs > 1 else "")
    done = f", {runner.iter:,} done" if runner.iter else ""
    yield f"  schedule   {length}{done}: {'; '.join(_schedulers(runner.param_schedulers)) or 'constant rates'}"


def _schedulers(schedulers: Any) -> Iterator[str]:
    if isinstance(schedulers, dict):
        for name, own in schedulers.items():
            yield from (f"{name}: {text}" for text in _schedulers(own))
        return
    for scheduler in schedulers or ():
        unit = "epoch" if scheduler.by_epoch else "iteration"
        end = f" to {scheduler.end}" if scheduler.end < _FOREVER else ""
        yield f"{type(scheduler).__name__} from {unit} {scheduler.begin}{end}"


def _wrappers(optim_wrapper: Any) -> list[Any]:
    return list(optim_wrapper.values()) if hasattr(optim_wrapper, "values") else [optim_wrapper]


def _groups(optim_wrapper: Any) -> Iterator[dict[str, Any]]:
    for wrapper in _wrappers(optim_wrapper):
        yield from wrapper.optimizer.param_groups


def _range(values: Iterable[float]) -> str:
    found = [float(value) for value in values]
    texts = [f"{value:.3g}" for value in (min(found), max(found))]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
