"""Load the weights of an evaluation, in the same way for tests, the Inferencer and all commands."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.dist import broadcast
from mmengine.logging import print_log
from torch import nn

from samplug.checkpoints import (
    LoadReport,
    WeightsError,
    digest,
    fetch,
    filled_names,
    load_pretrained,
    load_state,
    outside_state,
    pretrained_names,
    read_checkpoint,
    state_dict_of,
)
from samplug.engine.hooks import OMITTED_KEY

# Values of CHECKPOINT that do not name a file.
FROM_INIT_CFG = "none"
UNTRAINED = "untrained"

Checkpoint = dict[str, Any]


def load_for_evaluation(
    model: nn.Module, source: str | None, on_read: Callable[[Checkpoint], None] = lambda checkpoint: None
) -> None:
    """Load the weights of ``init_cfg`` into a model, and those of a checkpoint over them.

    State that is filled from data (:mod:`samplug.checkpoints.filled`) is loaded if a file has it; it is not required.

    Args:
        model: Without a data-parallel wrapper.
        source: A checkpoint, see :func:`samplug.checkpoints.fetch`; ``'none'`` or None: ``init_cfg`` alone;
            ``'untrained'``: the random initialisation.
        on_read: Called with the checkpoint before it is loaded; may change it.

    Raises:
        WeightsError: A parameter comes from neither, or the checkpoint cannot be read safely or does not fit.
    """
    source = str(source or FROM_INIT_CFG)
    if source == UNTRAINED:
        print_log("the model is untrained: random weights, a baseline to compare with", "current", logging.WARNING)
        model.init_weights()  # type: ignore[operator]
        for value in model.state_dict().values():
            broadcast(value)  # each process has drawn values of its own
    elif source == FROM_INIT_CFG:
        missing = set(model.state_dict()) - load_pretrained(model) - filled_names(model)
        if missing:
            raise WeightsError(
                f"weights: no checkpoint was given and init_cfg supplies no weights for {len(missing)} entries of "
                f"{type(model).__name__} ({', '.join(sorted(missing)[:4])}, ...): name a checkpoint, or "
                f"{UNTRAINED!r} for random weights"
            )
    else:
        checkpoint = read_checkpoint(fetch(source))
        on_read(checkpoint)
        report = apply_checkpoint(model, checkpoint, source)
        # Pretrained files are read only if the checkpoint lacks their entries: a whole checkpoint needs no other file.
        if pretrained_names(model) - filled_names(model) - set(report.loaded):
            load_pretrained(model)
            apply_checkpoint(model, checkpoint, source)
        check_omitted(model, checkpoint, source)


def apply_checkpoint(model: nn.Module, checkpoint: Checkpoint, source: str, strict: bool = True) -> LoadReport:
    """Load the content of a checkpoint; only entries that ``init_cfg`` supplies may be missing.

    Raises:
        WeightsError: It does not fit, and ``strict`` is True.
    """
    try:
        report = load_state(
            model, state_dict_of(checkpoint, source), source, strict=strict, may_miss=pretrained_names(model)
        )
    except WeightsError as error:
        meta = checkpoint.get("meta")
        experiment = meta.get("experiment_name") if isinstance(meta, Mapping) else None
        raise WeightsError(f"{error}{f' (written by the run {experiment})' if experiment else ''}") from error
    print_log(f"Load checkpoint from {source}", "current")
    return report


def check_omitted(model: nn.Module, checkpoint: Mapping[str, Any], source: str) -> None:
    """Compare the parameters that :class:`OmitFrozenHook` left out of a checkpoint with those of the model.

    Raises:
        WeightsError: They differ.
    """
    names, sha256 = omitted_from(checkpoint, source)
    if not names:
        return
    state = model.state_dict()
    state |= outside_state(model, set(names) - state.keys())
    if unknown := set(names) - state.keys():
        raise WeightsError(
            f"weights: {source} leaves out {len(unknown)} frozen entries that {type(model).__name__} does not have "
            f"(first {min(unknown)[:80]}): take the config that it was trained with"
        )
    if digest(state, names) != sha256:
        raise WeightsError(
            f"weights: {source} was trained on another frozen encoder than the one that init_cfg loads "
            f"({len(names)} entries left out of the checkpoint differ): set "
            "model.backbone.init_cfg.checkpoint to the file used in training"
        )


def omitted_from(checkpoint: Mapping[str, Any], source: str) -> tuple[list[str], str]:
    """Return the names of the parameters that :class:`OmitFrozenHook` left out of a checkpoint, and their digest.

    Raises:
        WeightsError: The checkpoint's record of these parameters is invalid.
    """
    meta = checkpoint.get("meta")
    omitted = meta.get(OMITTED_KEY) if isinstance(meta, Mapping) else None
    if omitted is None:
        return [], ""
    names, sha256 = (omitted.get(key) if isinstance(omitted, Mapping) else None for key in ("names", "sha256"))
    if isinstance(names, list) and all(isinstance(name, str) for name in names) and isinstance(sha256, str):
        return names, sha256
    raise WeightsError(
        f"weights: {source}: meta.{OMITTED_KEY} is not the names and sha256 of left-out parameters that OmitFrozenHook "
        "writes: take another checkpoint"
    )
