"""Check the schedules of a checkpoint, or advance the schedules of the config to the checkpoint's iteration."""

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import ReduceOnPlateauParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

from samplug.engine.resume_entry import Entry
from samplug.utils.errors import ConfigError

CHOICES = ("checkpoint", "config")
ADVICE = "take the schedule of the config (resume_schedule='config'), or another checkpoint"
OPEN_END = 10**9  # MMEngine's `end` of a schedule without one
# Entries of a schedule's state that change during the run.
_PROGRESS = {"last_step", "_global_step", "_last_value", "base_values", "verbose"}
_PLATEAU = {"best", "num_bad_epochs", "cooldown_counter"}


def schedules_of(schedulers: Any) -> list[_ParamScheduler]:
    """Return a run's schedules in the order of their steps, concatenated over optimisers."""
    groups = schedulers.values() if isinstance(schedulers, Mapping) else [schedulers or []]
    return [scheduler for group in groups for scheduler in group]


def check_schedules(entry: Entry, schedulers: Any, groups: Any, iteration: int, epoch: int) -> None:
    """Check the schedules of a checkpoint against those of the run.

    Args:
        entry: ``param_schedulers`` of the checkpoint.
        schedulers: Schedules of the run; a dict for several optimisers.
        groups: Settings of the checkpoint's parameter groups; a dict for several optimisers.
        iteration: Completed iterations.
        epoch: Completed epochs.
    """
    if isinstance(schedulers, Mapping):
        for name, own in schedulers.items():
            check_schedules(entry[name], own, groups[name], iteration, epoch)
        return
    states = entry.items()
    if len(states) != len(schedulers):
        names = ", ".join(type(own).__name__ for own in schedulers)
        entry.fail(f"{len(schedulers)} as in the config ({names})", ADVICE, f"{len(states)} schedules")
    groups = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    for state, own in zip(states, schedulers, strict=True):
        _check_schedule(state, own, len(groups), epoch if own.by_epoch else iteration)
        _rehearse(state, own, groups)


def _check_schedule(state: Entry, own: _ParamScheduler, groups: int, steps: int) -> None:
    kind, mine = type(own).__name__, own.state_dict()
    if differing := set(state.named()) ^ set(mine):
        state.fail(f"the state of a {kind}", ADVICE, f"a state that differs in {min(differing)[:40]!r}")
    plateau = isinstance(own, ReduceOnPlateauParamScheduler)
    for key, value in mine.items():
        if key in ("base_values", "_last_value"):
            for number in state[key].items(groups):
                number.number()
        elif key == "_global_step":
            state[key].integer(
                0, None if plateau else steps + 1
            )  # an iteration-based loop ends its only epoch at the end
        elif key == "last_step":
            state[key].integer(-1)
        elif key == "by_epoch" and state[key].value is not value:
            state[key].fail(f"{value} as in the config", ADVICE)
        elif key == "best":
            state[key].number(finite=False)
        elif key not in _PROGRESS:
            state[key].like(value)


def _rehearse(state: Entry, own: _ParamScheduler, groups: list[dict[str, Any]]) -> None:
    """Make the next step of a schedule on a copy, to detect invalid settings."""
    if isinstance(own, ReduceOnPlateauParamScheduler):  # steps need scores
        return
    rehearsal = copy.copy(own)
    rehearsal.optimizer = SimpleNamespace(param_groups=copy.deepcopy(groups), step=None, _global_step=0)
    rehearsal.load_state_dict(dict(state.value))
    try:
        with warnings.catch_warnings(action="ignore"):
            rehearsal.step()
        rates = [float(value) for value in rehearsal.get_last_value()]
        sound = all(math.isfinite(rate) and (own.param_name != "lr" or rate >= 0) for rate in rates)
        reason = f"{own.param_name} {rates[0]}" if rates else ""
    except Exception as error:  # settings from a file may raise any error
        sound, reason = False, f"{type(error).__name__}: {error}"[:80]
    if not sound:
        state.fail(f"a {type(own).__name__} that can go on", ADVICE, f"a state whose next step fails ({reason})")


def settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a schedule's state that come from its config."""
    return {key: value for key, value in state.items() if key not in _PROGRESS | _PLATEAU}


def advance(runner: Runner, iterations: int, epochs: int) -> None:
    """Advance the initial schedules of a config to an iteration.

    The learning rates then equal those of an uninterrupted run with this config, bit by bit.

    Raises:
        ConfigError: A schedule depends on the scores of earlier validations.
    """
    schedulers = schedules_of(runner.param_schedulers)
    for scheduler in schedulers:
        if isinstance(scheduler, ReduceOnPlateauParamScheduler):
            raise ConfigError(
                f"resume: a {type(scheduler).__name__} depends on earlier validations, so resume_schedule='config' "
                "cannot put it at the checkpoint's iteration: use resume_schedule='checkpoint'"
            )
    with warnings.catch_warnings(action="ignore"):  # MMEngine warns about missing optimiser steps
        for by_epoch in _steps(runner, iterations, epochs):
            for scheduler in schedulers:
                if scheduler.by_epoch == by_epoch:
                    scheduler.step()


def _steps(runner: Runner, iterations: int, epochs: int) -> Iterator[bool]:
    """Yield the steps of a run in order: False for an iteration, True for an epoch."""
    length, done = len(runner.train_dataloader), 0
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        epochs = 0
    for iteration in range(1, iterations + 1):
        yield False
        if iteration % length == 0 and done < epochs:
            yield True
            done += 1
    yield from [True] * (epochs - done)  # epochs had another length
