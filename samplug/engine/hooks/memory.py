"""Log the memory of training."""

from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from samplug.engine.run_errors import fixed_bytes, unwrapped, used_bytes
from samplug.registry import HOOKS
from samplug.utils.text import gib


@HOOKS.register_module()
class MemoryHook(Hook):
    """Log the peak of memory after the first iterations, when all that training keeps exists, and after each epoch.

    Args:
        first: Number of iterations before the first line.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, first: int = 10) -> None:
        self.first = first
        self._done = 0

    def before_train(self, runner: Runner) -> None:
        self._done = 0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        self._done += 1
        if self._done == self.first:
            self._log(runner, f"after {self.first} iterations")

    def after_train_epoch(self, runner: Runner) -> None:
        self._log(runner, f"epoch {runner.epoch + 1}" if runner.train_loop.max_epochs > 1 else "at the end")

    @master_only
    def _log(self, runner: Runner, when: str) -> None:
        parts = fixed_bytes(unwrapped(runner))
        trained = parts["gradients"] + parts["optimiser"]
        fixed = f"parameters {gib(parts['parameters'])}, gradients and optimiser {gib(trained)}"
        if torch.cuda.is_available():
            total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
            text = (
                f"GPU peak {gib(used_bytes())} in use, {gib(torch.cuda.max_memory_reserved())} held, of {gib(total)}; "
                f"{fixed}; process {gib(resident_bytes())}"
            )
        else:
            text = f"process peak {gib(used_bytes())}, now {gib(resident_bytes())}; {fixed}"
        runner.logger.info(f"memory {when}: {text}")


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes, without that of workers."""
    import psutil

    return psutil.Process().memory_info().rss
