"""Shard parameters, gradients and optimiser states over the processes (FSDP). Experimental."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_world_size, is_distributed, is_main_process
from mmengine.optim import OptimWrapper
from mmengine.utils import apply_to
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm

from samplug.engine.launch import join_alone
from samplug.registry import STRATEGIES
from samplug.utils.errors import ConfigError, check_choice, did_you_mean

_SHARDING = ("FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD")
_DTYPES = {None: None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PRECISION = ("param_dtype", "reduce_dtype", "buffer_dtype")


@STRATEGIES.register_module()
class FSDPStrategy:
    """Shard the model of a :class:`SamplugRunner` with torch's ``fully_shard``.

    Set it with ``strategy=dict(type='FSDPStrategy')`` in the config. The Runner loads weights into the whole model
    first, with the same strict functions as everywhere. Checkpoints hold whole tensors under the model's own names, so
    sharded and unsharded runs can test, export and resume each other's checkpoints, with any number of processes.

    Args:
        units: Names of lists of modules (``nn.ModuleList``) in the model. Each of their modules is gathered for its
            computation and freed after it; the rest of the model is one more unit.
        model_wrapper: ``sharding_strategy``: ``'FULL_SHARD'`` (default); ``'SHARD_GRAD_OP'``: parameters stay gathered
            from the forward to the backward pass; ``'HYBRID_SHARD'``: sharded inside each node, replicated over the
            nodes. ``mixed_precision``: a dict with ``param_dtype`` of the computation and ``reduce_dtype`` of the sum
            of gradients, names such as ``'bfloat16'``; BatchNorm and buffers stay in float32.

    Raises:
        ConfigError: A key or a value is unknown.
    """

    def __init__(
        self, *, units: Sequence[str] = ("backbone.blocks",), model_wrapper: Mapping[str, Any] | None = None
    ) -> None:
        wrapper = dict(model_wrapper or {})
        self.units = units
        self.sharding = wrapper.pop("sharding_strategy", "FULL_SHARD")
        check_choice("FSDPStrategy", "model_wrapper.sharding_strategy", self.sharding, _SHARDING)
        precision = dict(wrapper.pop("mixed_precision", None) or {})
        _check_keys("strategy.model_wrapper", wrapper, ("sharding_strategy", "mixed_precision"))
        _check_keys("strategy.model_wrapper.mixed_precision", precision, _PRECISION)
        for key, name in precision.items():
            allowed = (None, "float32") if key == "buffer_dtype" else tuple(_DTYPES)
            check_choice("FSDPStrategy", f"mixed_precision.{key}", name, allowed)
        self.param_dtype = _DTYPES[precision.get("param_dtype")]
        self.reduce_dtype = _DTYPES[precision.get("reduce_dtype")]

    def shard(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """Shard a model in place and give its optimiser the sharded parameters.

        Args:
            model: Whole, on the CPU, with the same weights in all processes. Each unit is moved to the device and
                sharded on its own.
            optim_wrapper: Optimiser of the model's parameters that has made no step.

        Raises:
            ConfigError: ``units`` names something else than a list of modules, or the nodes run different numbers of
                processes.
        """
        whole = dict(model.named_parameters())
        units = [module for name in self.units for module in _modules_of(model, name)]
        # BatchNorm computes in float32: statistics in bfloat16 would lose small updates, and torch mixes no types.
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if self.param_dtype else []
        if not is_distributed():
            join_alone()
        mesh = self._mesh()
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # shards keep no other layout, such as channels-last
        for module in (*norms, *units, model):
            precision = (
                MixedPrecisionPolicy(torch.float32, self.reduce_dtype, output_dtype=self.param_dtype)
                if isinstance(module, _BatchNorm) and self.param_dtype
                else MixedPrecisionPolicy(self.param_dtype, self.reduce_dtype)
            )
            fully_shard(module, mesh=mesh, reshard_after_forward=self.sharding != "SHARD_GRAD_OP", mp_policy=precision)
        sharded = dict(model.named_parameters())
        replaced = {id(parameter): sharded[name] for name, parameter in whole.items()}
        for group in optim_wrapper.optimizer.param_groups:
            group["params"] = [replaced[id(parameter)] for parameter in group["params"]]

    def _mesh(self) -> DeviceMesh:
        device, processes = "cuda" if torch.cuda.is_available() else "cpu", get_world_size()
        if self.sharding != "HYBRID_SHARD":
            return init_device_mesh(device, (processes,))
        nodes = all_gather_object(platform.node())
        on_each = nodes.count(nodes[0])
        if any(nodes.count(node) != on_each for node in nodes):
            raise ConfigError("train: HYBRID_SHARD needs the same number of processes on each node")
        return init_device_mesh(device, (processes // on_each, on_each), mesh_dim_names=("replicate", "shard"))


def build_strategy(cfg: Mapping[str, Any] | None) -> FSDPStrategy | None:
    """Build the strategy of a config.

    Raises:
        ConfigError: It is not an FSDPStrategy, or has the former key ``sync_bn``.
    """
    if not cfg:
        return None
    kind = cfg.get("type", "FSDPStrategy")
    found = STRATEGIES.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(found, type) and issubclass(found, FSDPStrategy)):
        raise ConfigError(f"train: strategy type={kind!r} is not samplug's FSDPStrategy or a class derived from it")
    if "sync_bn" in cfg:
        raise ConfigError("train: strategy.sync_bn is sync_bn now, a key of the config itself: move it there")
    return STRATEGIES.build({**cfg, "type": found})


def is_sharded(model: nn.Module) -> bool:
    """Return True if :meth:`FSDPStrategy.shard` has sharded the model."""
    return isinstance(model, FSDPModule)


def gathered(state: Any) -> Any:
    """Replace the sharded tensors in nested dicts and lists by whole ones on the CPU. All processes must call it.

    Only rank 0 keeps the whole tensors; the others get empty ones.
    """

    def whole(tensor: DTensor) -> torch.Tensor:
        value = tensor.full_tensor()  # a collective operation
        return value.cpu() if is_main_process() else torch.empty(0)

    return apply_to(state, lambda value: isinstance(value, DTensor), whole)


def sharded_like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return this process's share of a whole tensor, on the parameter's device.

    A tensor that belongs to a whole parameter, or differs from it in shape, stays whole.
    """
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    # All processes have read the whole tensor, so nothing is sent.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def sharded_optimizer_state(state: dict[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Any]:
    """Return an optimiser's whole state dict with its tensors sharded like its parameters."""
    parameters = [parameter for group in optim_wrapper.optimizer.param_groups for parameter in group["params"]]
    sharded = {
        index: {
            key: sharded_like(value, parameters[index]) if isinstance(value, torch.Tensor) else value
            for key, value in entries.items()
        }
        for index, entries in state["state"].items()
    }
    return {**state, "state": sharded}


def _check_keys(owner: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"train: {owner} has no {key!r}{did_you_mean(key, known)} (its keys: {', '.join(known)})")


def _modules_of(model: nn.Module, name: str) -> nn.ModuleList:
    """Return the list of modules called ``name``.

    Raises:
        ConfigError: There is none.
    """
    try:
        found = model.get_submodule(name)
    except AttributeError:
        found = None
    if isinstance(found, nn.ModuleList):
        return found
    lists = [other for other, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    raise ConfigError(
        f"train: strategy.units names {name!r}, which is no list of modules of {type(model).__name__}; it has "
        f"{', '.join(lists) or 'none'}"
    )
