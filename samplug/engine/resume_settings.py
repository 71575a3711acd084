"""Select and describe the settings of a resumed run, from the checkpoint or from the config."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from samplug.engine.resume_entry import Entry
from samplug.engine.resume_optimizer import check_groups, wrappers_of
from samplug.engine.resume_schedule import OPEN_END, schedules_of, settings
from samplug.utils.text import listed

_LONGEST_CONFIG = 1_000_000  # characters
# Settings that affect the training and that even a resumed run takes from its config.
_FROM_CONFIG = (
    "train_dataloader.batch_size",
    "optim_wrapper.type",
    "optim_wrapper.optimizer.type",
    "optim_wrapper.accumulative_counts",
    "optim_wrapper.clip_grad",
)


def take_settings_of_config(runner: Runner, checkpoint: dict[str, Any], file: str) -> None:
    """Replace the settings of each parameter group of a checkpoint by the run's settings; the states are kept.

    Raises:
        WeightsError: The checkpoint has other parameter groups.
    """
    whole = Entry(file, checkpoint)
    replaced: dict[str, Any] = {}
    for name, wrapper, entry in wrappers_of(runner.optim_wrapper, whole["optimizer"]):
        groups = [
            {**own, "params": numbers}
            for own, numbers in zip(wrapper.optimizer.param_groups, check_groups(entry, wrapper), strict=True)
        ]
        replaced[name] = {**entry.value, "param_groups": groups}
        if wrapper.base_param_settings is not None:
            replaced[name]["base_param_settings"] = wrapper.base_param_settings
    checkpoint["optimizer"] = replaced.get("", replaced)


def differences(runner: Runner, checkpoint: Mapping[str, Any]) -> list[str]:
    """List the settings of optimiser and schedules that differ between checkpoint and config.

    Args:
        runner: Runner whose optimiser and schedules are built from the config.
        checkpoint: Checkpoint accepted by :func:`samplug.engine.resume_check.check_resumable`.
    """
    found: dict[str, None] = {}
    for _, wrapper, entry in wrappers_of(runner.optim_wrapper, Entry("", checkpoint["optimizer"])):
        for group, own in zip(entry.value["param_groups"], wrapper.optimizer.param_groups, strict=True):
            found |= dict.fromkeys(_differing(_base_values(group), _base_values(own)))
    pairs = zip(schedules_of(checkpoint.get("param_schedulers")), schedules_of(runner.param_schedulers), strict=False)
    for state, scheduler in pairs:
        named = _differing(settings(state), settings(scheduler.state_dict()))
        found |= dict.fromkeys(f"{type(scheduler).__name__}.{line}" for line in named)
    return list(found)


def changed_in_config(runner: Runner, checkpoint: Mapping[str, Any]) -> list[str]:
    """List settings that differ from the checkpoint's config and are in force as in the current config."""
    stored = _stored_config(checkpoint["meta"].get("cfg") or "")
    lines: list[str] = []
    for key in _FROM_CONFIG if stored else ():
        before, now = (_at(cfg, key) for cfg in (stored, runner.cfg))
        if not _equal(before, now):
            lines.append(f"{key} {_text(now)} (was {_text(before)})")
    return lines


def in_force(
    runner: Runner, file: str, from_config: bool, differing: list[str], changed: list[str]
) -> tuple[str, bool]:
    """Describe learning rate and schedules of a resumed run.

    Returns:
        A line of text, and True if the settings differ from a config and deserve a warning.
    """
    owner = "the config (resume_schedule='config')" if from_config else f"the checkpoint {file}"
    line = f"resume: learning rate {_rates(runner)} at {_position(runner)}; schedule of {owner}: {_schedules(runner)}"
    if differing:
        line += (
            f". NOT in force are these settings of the config: {listed(differing, 8)}; resume_schedule='config' takes "
            "rates, schedule and optimiser settings of the config"
        )
    if changed:
        line += f". Changed in the config and in force: {listed(changed, 8)}"
    return line, bool(differing or changed) or _flat_until_the_end(runner)


def _base_values(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a parameter group before schedules change them."""
    return {
        key: group.get(f"initial_{key}", value)
        for key, value in group.items()
        if key != "params" and not key.startswith("initial_")
    }


def _differing(in_force: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    for key in config:
        if key in in_force and not _equal(in_force[key], config[key]):
            yield f"{key} {_text(config[key])} (in force: {_text(in_force[key])})"


def _equal(first: Any, second: Any) -> bool:
    first, second = (tuple(value) if isinstance(value, list) else value for value in (first, second))
    return bool(torch.as_tensor(first == second).all())


def _text(value: Any) -> str:
    if isinstance(value, float | torch.Tensor):
        return f"{float(value):.6g}"
    return (str(value) if isinstance(value, str | int) else repr(value))[:40]


def _rates(runner: Runner) -> str:
    wrappers = [runner.optim_wrapper]
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        wrappers = list(runner.optim_wrapper.optim_wrappers.values())
    rates = sorted({float(group["lr"]) for wrapper in wrappers for group in wrapper.optimizer.param_groups})
    return f"{rates[0]:.4g}" if len(rates) == 1 else f"{rates[0]:.4g} to {rates[-1]:.4g}"


def _position(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f"epoch {runner.epoch} of {runner.max_epochs} (iteration {runner.iter})"
    return f"iteration {runner.iter} of {runner.max_iters}"


def _schedules(runner: Runner) -> str:
    lines: list[str] = []
    for scheduler in schedules_of(runner.param_schedulers):
        unit = "epoch" if scheduler.by_epoch else "iteration"
        end = "without an end" if scheduler.end >= OPEN_END else f"until {unit} {scheduler.end}"
        lines.append(f"{type(scheduler).__name__} {end}")
    if not lines:
        return "none, the rate stays"
    return listed(dict.fromkeys(lines), 6) + (", then the rate stays" if _flat_until_the_end(runner) else "")


def _flat_until_the_end(runner: Runner) -> bool:
    """Return True if all schedules end before the run."""
    schedulers = schedules_of(runner.param_schedulers)
    ends = [s.end < (runner.max_epochs if s.by_epoch else runner.max_iters) for s in schedulers]
    return bool(ends) and all(ends)


def _at(cfg: Any, key: str) -> Any:
    """Return the value at a dotted key, for ``type`` the bare name; None if the key is missing."""
    for part in key.split("."):
        cfg = cfg.get(part) if isinstance(cfg, Mapping | Config) else None
    if key.endswith(".type") and cfg is not None:
        return (cfg if isinstance(cfg, str) else getattr(cfg, "__name__", str(cfg))).rpartition(".")[2]
    return cfg


def _stored_config(text: str) -> dict[str, Any]:
    """Read the plain values of a config's text without executing it; other values are left out."""
    try:
        body = ast.parse(text).body if len(text) <= _LONGEST_CONFIG else []
        return {
            target.id: _value(node.value)
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return {word.arg: _value(word.value) for word in node.keywords if word.arg}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
