"""Step schedules that depend on validation scores so that resumed runs agree with uninterrupted ones."""

from mmengine.hooks import ParamSchedulerHook as _ParamSchedulerHook
from mmengine.runner import Runner

from samplug.registry import HOOKS


@HOOKS.register_module()
class ParamSchedulerHook(_ParamSchedulerHook):
    """Step plateau schedules after all hooks of a validation (MMEngine's steps them among the hooks).

    A checkpoint for a new best score is written by one of these hooks, and a run resumed from it repeats the
    validation. The saved schedule must not have counted that validation yet.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] | None = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._metrics = metrics

    def after_val(self, runner: Runner) -> None:
        super().after_val_epoch(runner, self._metrics)
