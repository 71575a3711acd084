"""Stop training when validation no longer improves."""

import math
from typing import Literal

from mmengine.hooks import Hook
from mmengine.runner import Runner

from samplug.evaluation.directions import rule_of
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """MMEngine's hook with a count that survives an interruption, and defaults for scores in 0..1.

    Args:
        monitor: Name of a validation metric, as printed (``'S'``, ``'MAE'``, ``'CAMO/S'``).
        rule: ``'greater'`` or ``'less'`` is better. None: looked up (:func:`samplug.evaluation.directions.rule_of`):
            known for the metrics of samplug, mmdet, mmseg and mmpretrain, for metrics and protocols that declare
            ``lower_is_better``, and for losses.
        min_delta: Smallest change that counts as an improvement (exclusive).
        patience: Number of validations without improvement after which training ends.
        stopping_threshold: End as soon as the score is better than this.
        check_finite: End when the score is not finite.

    Raises:
        ConfigError: ``rule`` is not known, or validation has no metric ``monitor``.
    """

    priority = "LOWEST"

    def __init__(
        self,
        monitor: str,
        rule: Literal["greater", "less"] | None = None,
        min_delta: float = 0.0,
        patience: int = 5,
        stopping_threshold: float | None = None,
        check_finite: bool = True,
    ) -> None:
        rule = rule or rule_of(monitor)
        if rule not in ("greater", "less"):
            raise ConfigError(
                f"EarlyStoppingHook: is a greater or a smaller {monitor!r} better? Set rule='greater' or 'less'"
            )
        self.monitor, self.sign = monitor, 1 if rule == "greater" else -1
        self.min_delta, self.patience = min_delta, patience
        self.stopping_threshold, self.check_finite = stopping_threshold, check_finite
        self.best, self.waited = -math.inf, 0  # best is multiplied by sign, so that greater is better

    @property
    def _key(self) -> str:
        return f"early_stopping_{self.monitor}"

    def before_train(self, runner: Runner) -> None:
        if runner.iter and (state := runner.message_hub.runtime_info.get(self._key)):
            self.best, self.waited = state

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.monitor not in (metrics or {}):
            raise ConfigError(
                f"EarlyStoppingHook: no metric {self.monitor!r}; validation has {', '.join(metrics or {})}"
            )
        score = (metrics or {})[self.monitor]
        reason = self._judge(score)
        runner.message_hub.update_info(self._key, [self.best, self.waited])
        if reason:
            runner.train_loop.stop_training = True
            runner.logger.info(
                f"early stopping: {self.monitor} {score:.4f}, {reason}; best {self.best * self.sign:.4f}"
            )

    def _judge(self, score: float) -> str:
        """Return the reason why training ends; empty if it continues."""
        if not math.isfinite(score):
            return "which is not finite" if self.check_finite else ""
        improved = score * self.sign > self.best + self.min_delta or self.best == -math.inf
        self.best, self.waited = (score * self.sign, 0) if improved else (self.best, self.waited + 1)
        if self.stopping_threshold is not None and score * self.sign > self.stopping_threshold * self.sign:
            return f"better than {self.stopping_threshold}"
        return f"no improvement in {self.waited} validations" if self.waited >= self.patience else ""
