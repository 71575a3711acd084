"""Check that a checkpoint fits the resumed run, before the run is changed.

The file is intact (its checksums were compared), but may come from another config, another tool or an untrusted source.
MMEngine loads entries unchecked: a wrong entry fails somewhere in the first steps, or silently changes the training.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from samplug.checkpoints import pretrained_names
from samplug.engine.resume_entry import Entry
from samplug.engine.resume_optimizer import check_groups, check_scaler, check_settings, check_states, wrappers_of
from samplug.engine.resume_schedule import ADVICE as SCHEDULE_ADVICE
from samplug.engine.resume_schedule import check_schedules
from samplug.engine.resume_state import MOST_TIMES, STATE_KEY, check_state
from samplug.engine.weights import omitted_from
from samplug.utils.errors import ConfigError

_HISTORY = {"max_length", "_log_history", "_count_history"}


def check_resumable(
    runner: Runner, checkpoint: dict[str, Any], file: str, with_optimizer: bool = True, with_schedule: bool = True
) -> None:
    """Check all entries of a checkpoint that a resumed run loads.

    Args:
        runner: Runner whose loop, optimiser and schedules are built.
        checkpoint: Content of the file.
        file: Its name, for messages.
        with_optimizer: Check the optimiser's state.
        with_schedule: Check the states of the schedules.

    Raises:
        WeightsError: An entry is missing, has another type or size, or an impossible value.
        ConfigError: The checkpoint has more iterations than the config.
    """
    whole = Entry(file, checkpoint)
    iteration, epoch = check_position(runner, whole["meta"])
    _check_meta(runner, whole["meta"])
    omitted_from(checkpoint, file)
    _check_message_hub(whole["message_hub"])
    _check_ema(runner, whole)
    if with_optimizer:
        groups: dict[str, Any] = {}
        accumulated = 1
        for name, wrapper, entry in wrappers_of(runner.optim_wrapper, whole["optimizer"]):
            numbers = check_groups(entry, wrapper)
            check_settings(entry, wrapper)
            accumulated = getattr(wrapper, "_accumulative_counts", 1)
            check_states(entry, wrapper, numbers, started=iteration >= accumulated)
            check_scaler(entry)
            base = entry.value.get("base_param_settings")
            groups[name] = [*entry.value["param_groups"], *([base] if base else [])]
        if with_schedule and runner.param_schedulers:
            if "param_schedulers" not in checkpoint:
                whole.fail("param_schedulers", SCHEDULE_ADVICE, "without the state of schedules")
            several = isinstance(runner.param_schedulers, Mapping)
            check_schedules(
                whole["param_schedulers"], runner.param_schedulers, groups if several else groups[""], iteration, epoch
            )


def check_position(runner: Runner, meta: Entry) -> tuple[int, int]:
    """Return the iterations and epochs that the run has made; warn if these are all that the config has.

    Raises:
        ConfigError: The checkpoint has more iterations or epochs than the config.
    """
    iteration, epoch = meta["iter"].integer(), meta["epoch"].integer()
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        done, most, unit, setting = epoch, runner.max_epochs, "epochs", "max_epochs"
        meta["iter"].integer(0, MOST_TIMES * runner.max_iters)
    elif isinstance(loop, IterBasedTrainLoop):
        done, most, unit, setting = iteration, runner.max_iters, "iterations", "max_iters"
    else:
        return iteration, epoch
    if done < most:
        return iteration, epoch
    shown = done if done < 10**15 else "more than 10^15"
    remedy = f"extend with a larger {setting}, and resume_schedule='config' if its schedules should extend too"
    if done > most:
        raise ConfigError(f"resume: {meta.file} has run {shown} {unit}, and {setting} is {most}: {remedy}")
    message = f"resume: {meta.file} has already run {shown} of {most} {unit}: {remedy}"
    print_log(f"{message}. Nothing is trained; a validation that is due is repeated", "current", 30)
    return iteration, epoch


def _check_meta(runner: Runner, meta: Entry) -> None:
    for key in ("cfg", "experiment_name"):
        if text := meta.get(key):
            text.text()
    if seed := meta.get("seed"):
        seed.integer(0, 2**32 - 1)
    if described := meta.get("dataset_meta"):
        described.mapping()
        described.bounded()
    if state := meta.get(STATE_KEY):
        check_state(state, runner)


def _check_message_hub(hub: Entry) -> None:
    for name, entry in hub["log_scalars"].named().items():
        if isinstance(entry.value, HistoryBuffer):  # MMEngine skips others with a warning
            _check_history(hub.file, f"message_hub.log_scalars[{name[:40]!r}]", entry.value)
    information = hub["runtime_info"]
    information.bounded()
    for name, entry in information.named().items():
        if name == "keep_ckpt_ids":
            for number in entry.items():
                number.integer()
        elif name.startswith("best_score"):
            entry.number(finite=False)
        elif name.startswith("best_ckpt") or name == "last_ckpt":
            entry.text()
        elif name.startswith("early_stopping_"):
            best, waited = entry.items(2)
            best.number(finite=False)
            waited.integer()
    for entry in hub["resumed_keys"].named().values():
        if not isinstance(entry.value, bool):
            entry.fail("True or False")


def _check_history(file: str, place: str, history: HistoryBuffer) -> None:
    parts = vars(history)
    if set(parts) - {"statistics_methods"} != _HISTORY:
        Entry(file, parts, place).fail("a log history of MMEngine")
    Entry(file, parts["max_length"], f"{place}.max_length").integer(1)
    values, counts = parts["_log_history"], parts["_count_history"]
    for key, array in (("values", values), ("counts", counts)):
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "fiub":
            Entry(file, array, f"{place}, {key}").fail("a list of numbers, an array of one dimension")
    if len(values) != len(counts):
        Entry(file, counts, f"{place}, counts").fail(f"{len(values)} entries", found=f"an array of {len(counts)}")


def _check_ema(runner: Runner, whole: Entry) -> None:
    averaged = whole.get("ema_state_dict")
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook) and hasattr(hook, "ema_model")]
    if averaged is None:
        return
    if not hooks:
        print_log(
            f"resume: {whole.file} was written with EMAHook, which this config lacks: training continues from the "
            "averaged weights",
            "current",
            30,
        )
        return
    model, entries = hooks[0].ema_model, averaged.named()
    own = model.state_dict()
    optional = () if hooks[0].strict_load else (f"module.{name}" for name in pretrained_names(model.module))
    if missing := own.keys() - entries.keys() - set(optional):
        averaged.fail(f"an entry {min(missing)!r}", found="a dict without it")
    averaged["steps"].tensor()
    state, omitted = whole["state_dict"].named(), set(omitted_from(whole.value, whole.file)[0])
    for key, entry in entries.items():
        if key not in own:
            averaged.fail("the averaged weights of this model", found=f"a dict with {key[:80]!r}")
        entry.tensor(own[key].shape, own[key].is_floating_point())
        name = key.removeprefix("module.")
        if name == key:
            entry.number(0)  # the number of steps
        elif name in state:
            state[name].tensor(own[key].shape, own[key].is_floating_point())
        elif name not in omitted:
            whole["state_dict"].fail(f"an entry {name[:80]!r}", found="without it")
