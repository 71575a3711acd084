"""Name trained parameters that get no gradient."""

from typing import Any

from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from samplug.engine.fsdp import is_sharded
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError
from samplug.utils.text import listed

_LISTED = 20


@HOOKS.register_module()
class UnusedParametersHook(Hook):
    """Name the trained parameters that the loss does not depend on, after the first step.

    In one process this is a warning: these parameters keep their values. In several processes data parallelism would
    stop at the next step and give only indices. Sharded models (FSDP) are not checked: unused ones do no harm there.

    Raises:
        ConfigError: There are such parameters in several processes, and the model's wrapper does not have
            ``find_unused_parameters=True``.
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
        message = f"train: the loss does not depend on {len(unused)} trained parameters: {listed(unused, _LISTED)}"
        if is_distributed() and not getattr(runner.model, "find_unused_parameters", False):
            raise ConfigError(f"{message}. Freeze or remove them, or set find_unused_parameters=True (slower)")
        runner.logger.warning(f"{message}. They stay as they are")

    @staticmethod
    def _model(runner: Runner) -> Any:
        return runner.model.module if is_model_wrapper(runner.model) else runner.model
