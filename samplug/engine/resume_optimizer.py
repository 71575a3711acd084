"""Check that the optimiser state of a checkpoint fits the optimiser of the resumed run."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch.optim import Optimizer

from samplug.engine.resume_entry import Entry
from samplug.utils.text import listed

_GROUPS = "take the optimizer and the paramwise_cfg of the checkpoint's config, or train from its weights (load_from)"
_OPTIMIZER = "take the optimizer of the checkpoint's config, or train from its weights: load_from=FILE without --resume"
# Implementations of a step that tensors without data may not support.
_KERNELS = ("foreach", "fused", "capturable", "differentiable")


def wrappers_of(optim_wrapper: Any, entry: Entry) -> list[tuple[str, OptimWrapper, Entry]]:
    """Return name, wrapper and checkpoint entry of each optimiser of a run; most runs have one."""
    if isinstance(optim_wrapper, OptimWrapper):
        return [("", optim_wrapper, entry)]
    names = set(optim_wrapper.optim_wrappers)
    if names != set(entry.mapping()):
        entry.fail(f"the optimisers {listed(sorted(names))}", _OPTIMIZER)
    return [(name, wrapper, entry[name]) for name, wrapper in optim_wrapper.optim_wrappers.items()]


def check_groups(entry: Entry, wrapper: OptimWrapper) -> list[list[int]]:
    """Check that a state has the run's parameter groups; return the parameter indices of each group."""
    own = wrapper.optimizer.param_groups
    groups = entry["param_groups"].items()
    if len(groups) != len(own):
        entry["param_groups"].fail(f"the {len(own)} groups of parameters of this run", _GROUPS)
    numbers: list[list[int]] = []
    for group, mine in zip(groups, own, strict=True):
        ids = group["params"].items()
        if len(ids) != len(mine["params"]):
            group["params"].fail(f"the {len(mine['params'])} parameters of this run", _GROUPS)
        numbers.append([number.integer() for number in ids])
    everything = [number for ids in numbers for number in ids]
    if len(set(everything)) != len(everything):
        entry["param_groups"].fail("each parameter once", found="a list that repeats parameters")
    base = entry.get("base_param_settings")
    if (base is None) != (wrapper.base_param_settings is None):
        entry.fail(f"{'no ' if base else ''}base_param_settings", _GROUPS, found="a state of other groups")
    return numbers


def check_settings(entry: Entry, wrapper: OptimWrapper) -> None:
    """Check learning rate, weight decay and the other settings of each parameter group."""
    groups = entry["param_groups"].items()
    pairs = list(zip(groups, wrapper.optimizer.param_groups, strict=True))
    if base := entry.get("base_param_settings"):
        base["params"].tensor()
        pairs.append((base, wrapper.base_param_settings))
    for group, own in pairs:
        group.bounded()
        for key in own.keys() & group.named().keys() - {"params"}:
            group[key].like(own[key])
        group["lr"].number(0)


def check_states(entry: Entry, wrapper: OptimWrapper, numbers: list[list[int]], started: bool) -> None:
    """Compare the state of each parameter with the state that a step of the optimiser creates.

    Args:
        entry: State dict of the optimiser.
        wrapper: Optimiser wrapper of the run.
        numbers: Result of :func:`check_groups`.
        started: True if the optimiser has made a step, so that an empty state is an error.
    """
    states = entry["state"]
    unknown = set(states.mapping()) - {number for ids in numbers for number in ids}
    if unknown:
        states.fail("states of the parameters in param_groups", _OPTIMIZER, f"a state of {min(map(str, unknown))[:20]}")
    kind = type(wrapper.optimizer).__name__
    lacking, expected_any = 0, False
    for index, ids in enumerate(numbers):
        expected = _rehearsed(entry["param_groups"][index], wrapper.optimizer, index)
        expected_any |= any(expected)
        for number, wanted in zip(ids, expected, strict=True):
            if number not in states.value:
                lacking += bool(wanted)
                continue
            state = states[number]
            if wanted is not None and set(state.mapping()) != set(wanted):
                state.fail(f"{listed(map(str, wanted)) or 'nothing'} of {kind}", _OPTIMIZER, _keys(state.value))
            for name, value in state.named().items():
                _check_value(value, name, None if wanted is None else wanted[name])
    if expected_any and started and not states.value:
        states.fail(f"states of {kind}", found="empty")
    if lacking and started:
        trained = sum(map(len, numbers))
        print_log(
            f"resume: {entry.file} has no optimiser state for {lacking} of {trained} trained parameters, which had no "
            "gradient so far: theirs starts from zero",
            "current",
        )


def check_scaler(entry: Entry) -> None:
    """Check the state of the loss scaler of mixed precision; without float16 it is empty."""
    scaler = entry.get("loss_scaler")
    if scaler is None or not scaler.mapping():
        return
    if scaler["scale"].number(0) == 0:
        scaler["scale"].fail("a positive number")
    for key in ("growth_factor", "backoff_factor"):
        scaler[key].number(0)
    scaler["growth_interval"].integer(1)
    scaler["_growth_tracker"].integer()


def _check_value(entry: Entry, name: str, wanted: Any) -> None:
    value = entry.value
    if isinstance(wanted, torch.Tensor) and wanted.dim():
        entry.tensor(wanted.shape, wanted.is_floating_point())
    elif isinstance(wanted, torch.Tensor | int | float):
        entry.number(0 if name == "step" else None)
    elif isinstance(value, torch.Tensor):
        entry.tensor()
    elif value is not None or wanted is not None:
        entry.bounded()


def _rehearsed(group: Entry, optimizer: Optimizer, index: int) -> list[Any]:
    """Run a step of the optimiser on tensors without data, with the settings of a group of the checkpoint.

    Returns:
        State of each parameter after the step; None if this optimiser needs data for a step.
    """
    own = optimizer.param_groups[index]
    try:
        return _step(optimizer, own["params"], {key: value for key, value in group.value.items() if key != "params"})
    except Exception as error:  # settings from a file may raise any error
        try:
            _step(optimizer, own["params"], {key: value for key, value in own.items() if key != "params"})
        except Exception:
            return [None] * len(own["params"])
        reason = f"lacks {error}" if isinstance(error, KeyError) else (str(error) or type(error).__name__)[:80]
        group.fail(f"settings of {type(optimizer).__name__}", _OPTIMIZER, f"a group that does not fit ({reason})")


def _step(optimizer: Optimizer, parameters: list[torch.Tensor], settings: Mapping[str, Any]) -> list[Any]:
    kind = type(optimizer)
    settings = {**settings, **dict.fromkeys(settings.keys() & set(_KERNELS), False)}
    known = inspect.signature(kind).parameters
    # One tensor for each shape and dtype, which determine the state.
    alike = {(parameter.shape, parameter.dtype): parameter for parameter in parameters}
    copies = [torch.nn.Parameter(torch.empty_like(parameter, device="meta")) for parameter in alike.values()]
    rehearsal = kind(copies, **{key: value for key, value in settings.items() if key in known})
    state = dict(state={}, param_groups=[{**settings, "params": list(range(len(copies)))}])
    rehearsal.load_state_dict(state)
    for copy in copies:
        copy.grad = torch.empty_like(copy)
    rehearsal.step()
    states = dict(zip(alike, (dict(rehearsal.state[copy]) for copy in copies), strict=True))
    return [states[parameter.shape, parameter.dtype] for parameter in parameters]


def _keys(state: Mapping[Any, Any]) -> str:
    return f"a state of {listed(map(str, state), 4) or 'nothing'}"[:80]
