"""Optimisers over the parameters that are trained."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from samplug.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from samplug.utils.errors import ConfigError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor without the frozen parameters; ``SamplugRunner``'s default.

    Without ``paramwise_cfg`` all trained parameters form one group (fused and foreach kernels want few large groups); with it,
    MMEngine's rules apply.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser wrapper.

        Raises:
            ConfigError: Every parameter of the model is frozen.
        """
        model = getattr(model, "module", model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not trained:
            raise ConfigError(
                f"optimiser: every parameter of {type(model).__name__} is frozen, nothing would be trained"
            )
        if self.paramwise_cfg:
            return super().__call__(model)
        wrapper: dict[str, Any] = {"type": "OptimWrapper", **self.optim_wrapper_cfg}
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, "params": trained})
        return OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=optimizer))
