"""Stopping at a loss that is no number, before it reaches a checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from samplug.registry import HOOKS
from samplug.utils.errors import UserError

_LISTED = 16


class NonFiniteLoss(UserError, FloatingPointError):
    """The loss or a weight became infinite or no number."""


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Stops training when the loss is not finite, naming the batch's files, and refuses to save weights that are not finite.

    MMEngine reads every loss on the host anyway, so looking at it costs nothing. The last good checkpoint stays as it is.
    """

    priority = "HIGH"  # before hooks that average or save weights

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        values = {name: _number(value) for name, value in (outputs or {}).items() if _is_number(value)}
        bad = [name for name in values if name.startswith("loss") and not math.isfinite(values[name])]
        if bad:
            files = batch_files(data_batch)
            listed = ", ".join(files[:_LISTED]) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")
            terms = ", ".join(f"{name} {values[name]:.4g}" for name in values if name.startswith("loss"))
            raise NonFiniteLoss(
                f"loss: not finite at iteration {runner.iter + 1} ({terms}), learning rate {_rate(runner)}; files of the batch: "
                f"{listed or 'unknown'}. {_last_checkpoint(runner)} Look at these files; if they are sound, lower the learning rate, or set "
                "optim_wrapper.clip_grad.max_norm=1.0, and go on with --resume"
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        bad = [
            name
            for name, value in checkpoint["state_dict"].items()
            if value.is_floating_point() and not torch.isfinite(value).all()
        ]
        if bad:
            raise NonFiniteLoss(
                f"weights: {len(bad)} entries are not finite after iteration {runner.iter + 1} (first {bad[0]}), learning rate "
                f"{_rate(runner)}; nothing is saved. {_last_checkpoint(runner)} Lower the learning rate, or set "
                "optim_wrapper.clip_grad.max_norm=1.0, and go on with --resume"
            )


def batch_files(data_batch: Any) -> list[str]:
    """Image files of a batch, from its data samples."""
    samples = data_batch.get("data_samples") if isinstance(data_batch, Mapping) else None
    paths = (getattr(sample, "metainfo", {}).get("img_path") for sample in samples or ())
    return [str(path) for path in paths if path]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)


def _number(value: Any) -> float:
    return value.item() if isinstance(value, torch.Tensor) else float(value)


def _rate(runner: Runner) -> str:
    rates = runner.optim_wrapper.get_lr()
    return ", ".join(sorted({f"{rate[0]:.3g}" for rate in rates.values() if isinstance(rate, list) and rate}))


def _last_checkpoint(runner: Runner) -> str:
    record = Path(runner.work_dir) / "last_checkpoint"
    return (
        f"The last good checkpoint is {record.read_text().strip()}."
        if record.is_file()
        else "No checkpoint was written yet."
    )
