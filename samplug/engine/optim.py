"""Build the optimiser over the trained parameters, and train in mixed precision."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as _AmpOptimWrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from samplug.engine.param_groups import param_groups, parameters_of, training_table
from samplug.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from samplug.utils.errors import ConfigError, did_you_mean


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Build an optimiser over the trained parameters in few groups, and log a table of them.

    ``SamplugRunner`` uses it by default. A module's ``lr_mult`` is a factor of the learning rate of its own parameters.
    Keys of ``paramwise_cfg``; all factors multiply:

    * ``custom_keys``: part of a name -> ``dict(lr_mult=..., decay_mult=...)``; if several keys match a name, the
      longest applies. The other rules still apply (MMEngine's constructor switches them off for such a parameter).
    * ``bias_decay_mult``: factor of the weight decay of biases. ``norm_decay_mult``: the same for weights and biases of
      norm layers. As in SAM 2's training, ``LayerNorm2d`` does not count as a norm layer.
    * ``layer_decay``: the learning rate of block k of the encoder's n blocks is multiplied by ``layer_decay ** (n -
      k)``, that of the patch embedding by ``layer_decay ** (n + 1)``; position tables and the neck are not changed (SAM
      2's training).
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.base_wd is None and {"bias_decay_mult", "norm_decay_mult"} & set(self.paramwise_cfg):
            raise ConfigError("optimiser: paramwise_cfg changes the weight decay, and the optimizer has none: set it")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser wrapper.

        Raises:
            ConfigError: Every parameter of the model is frozen, or ``paramwise_cfg`` or ``clip_grad`` has wrong keys.
        """
        model = getattr(model, "module", model)
        parameters = parameters_of(model, self.paramwise_cfg)
        if not any(parameter.value.requires_grad for parameter in parameters):
            raise ConfigError(
                f"optimiser: every parameter of {type(model).__name__} is frozen, nothing would be trained"
            )
        print_log("trained\n" + training_table(parameters, self.base_lr, self.base_wd), "current")
        groups = param_groups(parameters, self.base_lr, self.base_wd)
        wrapper: dict[str, Any] = {"type": "OptimWrapper", **self.optim_wrapper_cfg}
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, "params": groups})
        built = OPTIM_WRAPPERS.build(wrapper, default_args=dict(optimizer=optimizer))
        _check_clipping(built)
        return built

    def _validate_cfg(self) -> None:
        """Skip MMEngine's checks, which know its own keys only."""


def _check_clipping(wrapper: OptimWrapper) -> None:
    """Raise a ConfigError for keys of ``clip_grad`` that would fail in the first step."""
    given = wrapper.clip_grad_kwargs
    if not given:
        return
    signature = inspect.signature(wrapper.clip_func)
    known = list(signature.parameters)[1:]
    keys = f"(its keys: type, {', '.join(known)})"
    for name in given:
        if name not in known:
            raise ConfigError(f"optimiser: clip_grad has no {name!r}{did_you_mean(name, known)} {keys}")
    try:
        signature.bind([], **given)
    except TypeError as error:
        raise ConfigError(f"optimiser: clip_grad: {error} {keys}") from error


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(_AmpOptimWrapper):
    """Mixed precision on GPUs and CPUs: the forward pass under autocast, parameters and optimiser in float32.

    Args:
        dtype: ``'bfloat16'``, ``'float16'`` (GPU only; the loss is scaled so that small gradients do not underflow), or
            None: bfloat16 if the device supports it, otherwise float16.
        loss_scale: Loss scale for float16: ``'dynamic'``, a fixed number, or arguments of ``torch.amp.GradScaler``.
            Unused for bfloat16.
        **kwargs: ``optimizer``, ``accumulative_counts``, ``clip_grad``, see ``OptimWrapper``.

    Raises:
        ConfigError: The device does not support ``dtype``, or an argument has an unknown value.
    """

    def __init__(
        self,
        dtype: Literal["bfloat16", "float16"] | None = None,
        loss_scale: Literal["dynamic"] | float | dict[str, Any] = "dynamic",
        **kwargs: Any,
    ) -> None:
        OptimWrapper.__init__(self, **kwargs)  # MMEngine's AmpOptimWrapper.__init__ needs a GPU
        self.device_type = "cuda" if torch.cuda.is_available() else "cpu"
        self.cast_dtype = _autocast_dtype(dtype, self.device_type)
        print_log(f"mixed precision: {str(self.cast_dtype).removeprefix('torch.')} on {self.device_type}", "current")
        scaler: dict[str, Any] = {}
        self._scale_update_param = None
        if isinstance(loss_scale, dict):
            scaler = loss_scale
        elif isinstance(loss_scale, int | float):
            scaler, self._scale_update_param = dict(init_scale=float(loss_scale)), float(loss_scale)
        elif loss_scale != "dynamic":
            raise ConfigError(
                f"optimiser: loss_scale={loss_scale!r} is none of 'dynamic', a number, a dict of GradScaler's arguments"
            )
        scaled = self.cast_dtype == torch.float16
        self._scale_update_param = self._scale_update_param if scaled else None
        self.loss_scaler = torch.amp.GradScaler(self.device_type, enabled=scaled, **scaler)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the loss scale of a run in another precision is left out."""
        scale = state_dict.get("loss_scaler")
        if "loss_scaler" in state_dict and bool(scale) != self.loss_scaler.is_enabled():
            state_dict = {key: value for key, value in state_dict.items() if key != "loss_scaler"}
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with OptimWrapper.optim_context(self, model), torch.autocast(self.device_type, dtype=self.cast_dtype):
            yield


def _autocast_dtype(name: str | None, device: str) -> torch.dtype:
    if name not in (None, "bfloat16", "float16"):
        raise ConfigError(f"optimiser: dtype={name!r} of AmpOptimWrapper is neither 'bfloat16' nor 'float16'")
    if device == "cpu":
        if name == "float16":
            raise ConfigError(
                "optimiser: float16 needs a GPU: use dtype='bfloat16' on the CPU, or OptimWrapper for float32"
            )
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            print_log("mixed precision: this CPU has no bfloat16 instructions, float32 is faster", "current", 30)
        return torch.bfloat16
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bfloat16" and not native:
        raise ConfigError(
            f"optimiser: {torch.cuda.get_device_name()} does not compute with bfloat16: use dtype='float16' (or None, "
            "which chooses)"
        )
    return torch.bfloat16 if name == "bfloat16" or (name is None and native) else torch.float16
