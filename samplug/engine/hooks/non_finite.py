"""Stop training at a loss that is not finite, before it reaches a checkpoint."""

import math
from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner

from samplug.checkpoints.contents import is_finite
from samplug.engine.hooks.deferred_losses import DeferredLosses
from samplug.engine.work_folder import last_checkpoint
from samplug.registry import HOOKS
from samplug.utils.errors import UserError
from samplug.utils.text import listed

_LISTED = 16


class NonFiniteLoss(UserError, FloatingPointError):
    """The loss or a weight became infinite or not a number."""


@HOOKS.register_module()
class NonFiniteHook(DeferredLosses):
    """Stop training when a loss is not finite, and refuse to save weights that are not finite.

    Every loss of every iteration is looked at, but read from the device together with those of the other iterations
    since the last log line. So training ends at the latest at the next log line, validation, checkpoint or end of an
    epoch; the error names the first iteration with a bad loss and the files of its batch, and no checkpoint is written
    after that iteration.
    """

    priority = "HIGH"  # before hooks that average or save weights

    def use_losses(self, runner: Runner, iteration: int, losses: Mapping[str, float], files: list[str]) -> None:
        named = {name: value for name, value in losses.items() if name.startswith("loss")}
        if all(math.isfinite(value) for value in named.values()):
            return
        terms = ", ".join(f"{name} {value:.4g}" for name, value in named.items())
        raise NonFiniteLoss(
            f"loss: not finite at iteration {iteration} ({terms}), learning rate {_rate(runner)}; files of the batch: "
            f"{listed(files, _LISTED) or 'unknown'}. {_last_checkpoint(runner)} Look at these files; if they are "
            "sound, lower the learning rate, or set optim_wrapper.clip_grad.max_norm=1.0, and continue with --resume"
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        bad = [name for name, value in checkpoint["state_dict"].items() if not is_finite(value)]
        if bad:
            raise NonFiniteLoss(
                f"weights: {len(bad)} entries are not finite after iteration {runner.iter + 1} (first {bad[0]}), "
                f"learning rate {_rate(runner)}; nothing is saved. {_last_checkpoint(runner)} Lower the learning rate, "
                "or set optim_wrapper.clip_grad.max_norm=1.0, and continue with --resume"
            )


def _rate(runner: Runner) -> str:
    rates = runner.optim_wrapper.get_lr()
    return ", ".join(sorted({f"{rate[0]:.3g}" for rate in rates.values() if isinstance(rate, list) and rate}))


def _last_checkpoint(runner: Runner) -> str:
    name = last_checkpoint(runner.work_dir)
    return f"The last good checkpoint is {name}." if name else "No checkpoint was written yet."
