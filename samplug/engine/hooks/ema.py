"""Average the weights during training (EMA)."""

from collections.abc import MutableMapping
from typing import Any

from mmengine.hooks import EMAHook as _EMAHook
from mmengine.runner import Runner
from torch import Tensor

from samplug.checkpoints import WeightsError, load_state, pretrained_names, state_dict_of
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
        averaged, state = checkpoint.get("ema_state_dict"), checkpoint.get("state_dict")
        if averaged is None:
            runner.logger.warning("resume: the checkpoint has no ema_state_dict: averaging starts from its weights")
            return
        steps = averaged.get("steps") if isinstance(averaged, MutableMapping) else None
        if not isinstance(state, MutableMapping) or not isinstance(steps, Tensor) or steps.numel() != 1:
            raise WeightsError(
                "resume: the checkpoint's state_dict and ema_state_dict are not those of a run with EMAHook: resume "
                "from another checkpoint, or without EMAHook"
            )
        # state_dict contains the averaged weights. Frozen weights, which are equal in both, may be left out.
        for key in averaged:
            if (name := str(key).removeprefix(_PREFIX)) != key and name in state:
                averaged[key], state[name] = state[name], averaged[key]
        model, origin = self.ema_model.module, "the checkpoint's ema_state_dict"
        entries = state_dict_of({"ema_state_dict": averaged}, origin)
        load_state(model, entries, origin, may_miss=pretrained_names(model))
        self.ema_model.steps.fill_(int(steps))
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
