"""Training a model whose parameters, gradients and optimiser states are shared out over the processes (FSDP)."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine._strategy.fsdp import FSDPStrategy as _FSDPStrategy
from mmengine.dist import is_distributed, is_main_process
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import FlexibleRunner
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
    StateDictType,
)
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy

from samplug.checkpoints import WeightsError
from samplug.engine.base_runner import SamplugRunnerMixin
from samplug.engine.hooks import OmitFrozenHook
from samplug.engine.hooks.record import count_parameters
from samplug.engine.launch import join_alone, join_on_cpu
from samplug.registry import RUNNERS, STRATEGIES
from samplug.utils.errors import ConfigError


@STRATEGIES.register_module()
class FSDPStrategy(_FSDPStrategy):
    """MMEngine's FSDP strategy for :class:`ShardedRunner`.

    What differs from MMEngine's:

    * Weights are loaded into the whole model before it is shared out, with the same strict functions as everywhere.
    * A checkpoint is one file with whole tensors under the model's own names, written by rank 0: it has the layout of any
      other checkpoint, and can be resumed with another number of processes.
    * It runs without GPUs (over gloo), and in one process without a launcher.

    Args:
        units: Names of lists of modules (``nn.ModuleList``) in the model: each of their modules is gathered and freed on its own, the rest of
            the model stays gathered during a step.
        model_wrapper: Arguments of MMEngine's ``MMFullyShardedDataParallel`` as a dict: ``sharding_strategy``
            (``'FULL_SHARD'``, ``'HYBRID_SHARD'``, ...), ``mixed_precision``, ...
        sync_bn: ``'torch'``: BatchNorm over the batches of all ranks; needs GPUs.
        **kwargs: Further arguments of MMEngine's, but ``state_dict_cfg`` and ``skip_init_weights``.

    Raises:
        ConfigError: ``units`` names something else than a list of modules, ``sync_bn`` without GPUs, or gradients are to be
            clipped by their norm, of which a process knows its own share only.
    """

    model_wrapper: dict[str, Any]
    load_whole: Callable[[nn.Module], None]  # set by the runner
    checkpoint: dict[str, Any]  # set by the runner: what training is resumed from
    position: dict[str, int]  # set by the runner: epoch and iteration of the checkpoint being saved

    def __init__(
        self,
        *,
        units: Sequence[str] = ("backbone.blocks",),
        model_wrapper: Mapping[str, Any] | None = None,
        sync_bn: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.units = units
        wrapper = dict(model_wrapper or {})
        if not torch.cuda.is_available():
            if sync_bn:
                raise ConfigError("train: sync_bn needs GPUs: leave it out, or train on GPUs")
            wrapper["device_id"] = torch.device("cpu")  # MMEngine numbers GPUs
        super().__init__(model_wrapper=wrapper, sync_bn=sync_bn, state_dict_cfg="full", **kwargs)

    def _setup_env(self, *, launcher: str | None = None, **kwargs: Any) -> None:
        if launcher == "none" and not is_distributed():
            join_alone()
        super()._setup_env(launcher=launcher, **kwargs)

    def _setup_distributed(self, launcher: str = "pytorch", backend: str = "nccl", **kwargs: Any) -> None:
        if torch.cuda.is_available():
            super()._setup_distributed(launcher, backend, **kwargs)
        else:
            join_on_cpu(launcher, kwargs.get("timeout"))

    def _init_state_dict_cfg(self, state_dict_cfg: str | dict[str, Any]) -> None:
        # torch moves to the CPU only what is elsewhere, and only what is shared out.
        whole = dict(rank0_only=True, offload_to_cpu=torch.cuda.is_available() and self.world_size > 1)
        self.state_dict_type = StateDictType.FULL_STATE_DICT
        self.state_dict_config = FullStateDictConfig(**whole)
        self.optim_state_dict_config = FullOptimStateDictConfig(**whole)

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        model = super()._init_model_weights(model)
        self.load_whole(model)
        return model

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        model = self.convert_model(model)
        for parameter in model.parameters():
            # torch's whole optimiser states forget the order of other layouts, such as channels-last: resuming would mix them up.
            parameter.data = parameter.data.contiguous()
        units = {id(module) for name in self.units for module in _modules_of(model, name)}
        policy = functools.partial(lambda_auto_wrap_policy, lambda_fn=lambda module: id(module) in units)
        self.model_wrapper = {"auto_wrap_policy": policy, **self.model_wrapper}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*set_state_dict_type.*", category=FutureWarning)
            return super()._wrap_model(model)

    def build_optim_wrapper(
        self, optim_wrapper: dict[str, Any] | BaseOptimWrapper, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        if isinstance(optim_wrapper, Mapping):
            clip = optim_wrapper.get("clip_grad")
            if clip and clip.get("type", "norm") == "norm":
                raise ConfigError(
                    "train: clip_grad by norm is not possible with FSDPStrategy, a process knows the norm of its own share only: "
                    "leave it out, or clip_grad=dict(type='value', clip_value=...)"
                )
            optim_wrapper = {"constructor": "samplug.TrainableOptimWrapperConstructor", **optim_wrapper}
        return super().build_optim_wrapper(optim_wrapper, model)

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a whole optimiser state, whose parameters go by name."""
        # MMEngine passes these arguments in the order that torch had before 2.1.
        own = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(own)

    def load_checkpoint(self, filename: str, **kwargs: Any) -> dict[str, Any]:
        """The checkpoint of :meth:`resume`: the runner has opened it and loaded its weights already."""
        return self.checkpoint

    def save_checkpoint(
        self,
        filename: str,
        *,
        extra_ckpt: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if extra_ckpt is not None:
            extra_ckpt["meta"] |= self.position
        # Only rank 0 has what hooks are to change.
        super().save_checkpoint(
            filename, extra_ckpt=extra_ckpt, callback=callback if is_main_process() else None, **kwargs
        )


@RUNNERS.register_module()
class ShardedRunner(SamplugRunnerMixin, FlexibleRunner):
    """:class:`SamplugRunner` for training under :class:`FSDPStrategy`; the commands take it where a config has a ``strategy``.

    Weights, randomness and checkpoints are as there. ``load_from`` and ``resume`` load the weights between the model's
    initialisation and its sharding; optimiser, schedule and counters follow.

    Raises:
        ConfigError: A hook or strategy that cannot work with a sharded model.
    """

    strategy: FSDPStrategy
    parameter_counts: dict[str, int]  # of the whole model: a process has its share only
    _restore: Callable[[], None] | None = None  # the second half of resume()

    @property
    def deterministic(self) -> bool:
        """Whether only deterministic operators are used; MMEngine's property reads what does not exist."""
        return bool(self._randomness_cfg.get("deterministic", False))

    @property
    def launcher(self) -> str:
        """What started the processes."""
        return str(self.cfg.get("launcher", "none"))

    def build_strategy(self, strategy: Any = None, *args: Any, **kwargs: Any) -> FSDPStrategy:
        """Build the strategy; arguments as MMEngine's."""
        cfg = dict(strategy or {})
        kind = cfg.get("type", "FSDPStrategy")
        # By class: MMEngine sets the scope of names later.
        cfg["type"] = STRATEGIES.get(kind) if isinstance(kind, str) else kind
        if not (isinstance(cfg["type"], type) and issubclass(cfg["type"], FSDPStrategy)):
            raise ConfigError(f"train: strategy type={kind!r} is not samplug's FSDPStrategy or a class derived from it")
        cfg.setdefault("sync_bn", self.cfg.get("sync_bn"))
        built = super().build_strategy(cfg, *args, **kwargs)
        built.load_whole = self._load_whole
        return built

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        super().register_hook(hook, priority)
        for registered in self.hooks:
            if isinstance(registered, OmitFrozenHook | EMAHook):
                raise ConfigError(
                    f"train: {type(registered).__name__} needs the whole model, which no process has under FSDPStrategy: leave the "
                    f"hook out, or leave the strategy out"
                )

    def _init_model_weights(self) -> None:
        """For an untrained test: the strategy has done it."""

    def _load_whole(self, model: nn.Module) -> None:
        self.model = model
        self.parameter_counts = count_parameters(model)
        super().load_or_resume()

    def load_or_resume(self) -> None:
        """What remains to be restored once the model is sharded."""
        if self._restore is not None:
            self._restore()
            self._restore = None

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As :meth:`SamplugRunner.load_checkpoint`, before the model is sharded.

        Raises:
            WeightsError: The model is sharded already, or as there.
        """
        if is_model_wrapper(self.model):
            raise WeightsError(
                f"weights: {filename}: the model is sharded already: set load_from before training starts"
            )
        return super().load_checkpoint(filename, *args, **kwargs)

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume training; arguments as MMEngine's, errors as :meth:`SamplugRunner.resume`."""
        self._read_ahead = self.strategy.checkpoint = self.open_to_resume(filename)
        self.load_checkpoint(filename)
        resume = super().resume

        def restore() -> None:
            resume(filename, *args, **kwargs)
            self.restore_state(filename, self.strategy.checkpoint)

        self._restore = restore

    def save_checkpoint(self, *args: Any, meta: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Save a checkpoint; arguments as MMEngine's.

        ``epoch`` and ``iter`` in ``meta`` are kept: MMEngine's FlexibleRunner counts one too many in what hooks save after a validation.
        """
        self.strategy.position = {key: meta[key] for key in ("epoch", "iter") if key in meta} if meta else {}
        super().save_checkpoint(*args, meta=meta, **kwargs)


def _modules_of(model: nn.Module, name: str) -> nn.ModuleList:
    """The list of modules called ``name``.

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
        f"train: strategy.units names {name!r}, which is no list of modules of {type(model).__name__}; it has {', '.join(lists) or 'none'}"
    )
