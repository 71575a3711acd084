"""Schedules that look at validations, in step with what is resumed."""

from mmengine.hooks import ParamSchedulerHook as _ParamSchedulerHook
from mmengine.runner import Runner

from samplug.registry import HOOKS


@HOOKS.register_module()
class ParamSchedulerHook(_ParamSchedulerHook):
    """MMEngine's, whose plateau schedules step when the hooks of a validation are through.

    A checkpoint that is written among them, for a new best score, is resumed with that validation: it must not have counted already.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] | None = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._metrics = metrics

    def after_val(self, runner: Runner) -> None:
        super().after_val_epoch(runner, self._metrics)
