"""Record the command, the environment, the data and the outcome of a run."""

import contextlib
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from samplug.datasets.summary import summarise
from samplug.engine.environment import describe_environment, repositories
from samplug.engine.hooks.on_failure import on_failure
from samplug.registry import HOOKS
from samplug.utils.files import write_text

RECORD = "run.json"


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Write ``run.json`` into the run's log folder, ``work_dir/TIMESTAMP``; only rank 0 writes.

    The file is written before weights are read, and again when the run finishes, fails or is stopped by Ctrl-C. A run
    without ``end`` was killed or is still running::

        {"environment": {...},             # command, versions, machine: see samplug.engine.environment
         "repositories": {"samplug": {"folder", "commit", "dirty"}, "config": {...}},
         "config": "configs/quickstart.py",
         "seed", "deterministic", "launcher", "world_size",
         "parameters": {"trained", "frozen"},
         "data": {"train": {...}, ...},    # see samplug.datasets.summary.summarise
         "runs": [{"kind": "train", "start", "end", "seconds", "outcome": "finished", "epoch", "iteration",
                   "best_score", "best_ckpt", ...}]}

    ``runs`` has several entries if a Runner is used several times. MMEngine writes the resolved config to
    ``vis_data/config.py`` beside it, and the scores of a test to ``TIMESTAMP.json``.
    """

    priority = "LOWEST"  # after the checkpoint of the last iteration

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}
        self._started = 0.0

    def before_run(self, runner: Runner) -> None:
        if not is_main_process():
            return
        self._started = time.time()
        self._record |= _facts(runner)
        runs = [*self._record.get("runs", []), dict(start=_now())]
        self._record["runs"] = runs
        self._write(runner)
        on_failure(runner, lambda error: self._fail(runner, error))

    def before_train(self, runner: Runner) -> None:
        self._name("train")

    def before_val(self, runner: Runner) -> None:
        self._name("val")

    def before_test(self, runner: Runner) -> None:
        self._name("test")

    def after_run(self, runner: Runner) -> None:
        if self._record:
            self._end(runner, "finished")

    def _fail(self, runner: Runner, error: BaseException) -> None:
        with contextlib.suppress(OSError):  # on a full disk the first error matters
            self._end(runner, f"{type(error).__name__}: {error}".removesuffix(": "))

    def _name(self, kind: str) -> None:
        if self._record:
            self._record["runs"][-1].setdefault("kind", kind)  # a validation within a training is part of that run

    def _end(self, runner: Runner, outcome: str) -> None:
        run = self._record["runs"][-1]
        run.update(end=_now(), seconds=round(time.time() - self._started, 1), outcome=outcome)
        if run.get("kind") == "train":
            run.update(epoch=runner.epoch, iteration=runner.iter)
            best = {key: value for key, value in runner.message_hub.runtime_info.items() if key.startswith("best_")}
            run.update({key: value.item() if hasattr(value, "item") else value for key, value in best.items()})
        self._write(runner)

    def _write(self, runner: Runner) -> None:
        write_text(Path(runner.log_dir) / RECORD, json.dumps(self._record, indent=1, default=str))


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the number of values in trained and in frozen parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return dict(
        trained=sum(size for size, trained in sizes if trained),
        frozen=sum(size for size, trained in sizes if not trained),
    )


def _facts(runner: Runner) -> dict[str, Any]:
    loops = dict(train=runner._train_loop, val=runner._val_loop, test=runner._test_loop)
    return dict(
        environment=describe_environment(),
        repositories=repositories(runner.cfg.filename),
        config=runner.cfg.filename,
        seed=runner.seed,
        deterministic=runner.deterministic,
        launcher=runner.launcher,
        world_size=runner.world_size,
        parameters=count_parameters(runner.model),
        data={name: summarise(loop.dataloader.dataset) for name, loop in loops.items() if isinstance(loop, BaseLoop)},
    )


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
