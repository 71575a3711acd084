"""Naming parameters that are meant to be trained and get no gradient."""

from typing import Any

from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from samplug.engine.fsdp import is_sharded
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError

_LISTED = 20


@HOOKS.register_module()
class UnusedParametersHook(Hook):
    """After the first step, names the trained parameters that the loss does not depend on.

    In one process that is a warning: they stay as they are. In several, data parallelism would stop at the next step with bare indices.
    Sharded models (FSDP) are not looked at: their gradients arrive in pieces of many parameters, and unused ones are no harm.

    Raises:
        ConfigError: There are such parameters, in several processes without ``find_unused_parameters``.
    """

    def __init__(self) -> None:
        self._reached: set[str] = set()
        self._handles: list[Any] | None = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if self._handles is None and not is_sharded(runner.model):
            self._handles = [
                parameter.register_post_accumulate_grad_hook(lambda _, name=name: self._reached.add(name))
                for name, parameter in self._model(runner).named_parameters()
                if parameter.requires_grad
            ]

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        unused = [
            name
            for name, parameter in self._model(runner).named_parameters()
            if parameter.requires_grad and name not in self._reached
        ]
        if not unused:
            return
        listed = ", ".join(unused[:_LISTED]) + (f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else "")
        message = f"train: the loss does not depend on {len(unused)} trained parameters: {listed}"
        if is_distributed() and not getattr(runner.model, "find_unused_parameters", False):
            raise ConfigError(f"{message}. Freeze or remove them, or set find_unused_parameters=True (slower)")
        runner.logger.warning(f"{message}. They stay as they are")

    @staticmethod
    def _model(runner: Runner) -> Any:
        return runner.model.module if is_model_wrapper(runner.model) else runner.model
