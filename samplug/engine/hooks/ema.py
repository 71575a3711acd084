"""Average the weights during training (EMA)."""

from typing import Any

from mmengine.hooks import EMAHook as _EMAHook
from mmengine.runner import Runner

from samplug.checkpoints import load_state, pretrained_names, state_dict_of
from samplug.registry import HOOKS

_PREFIX = "module."  # of the averaged model


@HOOKS.register_module()
class EMAHook(_EMAHook):
    """Average weights for validation and checkpoints; arguments of MMEngine's hook.

    Until the first step, the averaged weights are the loaded weights: from ``init_cfg``, from a file in any layout, or
    from a checkpoint without its frozen part. MMEngine's hook would test random weights instead.

    Raises:
        WeightsError: When resuming, if ``ema_state_dict`` does not fit the model.
    """

    _has_own_weights = False

    def before_run(self, runner: Runner) -> None:
        self._has_own_weights = False
        super().before_run(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if not runner._resume:
            return
        averaged, state = checkpoint.get("ema_state_dict"), checkpoint["state_dict"]
        if averaged is None:
            runner.logger.warning("resume: the checkpoint has no ema_state_dict: averaging starts from its weights")
            return
        # The file has the averaged weights as state_dict. Frozen ones may be left out there; they are the same in both.
        for key in averaged:
            if (name := str(key).removeprefix(_PREFIX)) != key and name in state:
                averaged[key], state[name] = state[name], averaged[key]
        model, origin = self.ema_model.module, "the checkpoint's ema_state_dict"
        entries = state_dict_of({"ema_state_dict": averaged}, origin)
        load_state(model, entries, origin, may_miss=pretrained_names(model))
        self.ema_model.steps.fill_(int(averaged["steps"]))
        self._has_own_weights = True

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._follow(runner)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._has_own_weights = True
        super().after_train_iter(runner, *args, **kwargs)

    def before_val_epoch(self, runner: Runner) -> None:
        self._follow(runner)
        super().before_val_epoch(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        self._follow(runner)
        super().before_test_epoch(runner)

    def _follow(self, runner: Runner) -> None:
        """Copy the weights that were loaded after :meth:`before_run`."""
        if not self._has_own_weights:
            super().before_run(runner)
