"""MMEngine's Runner with weights that are safe to open and never silently wrong."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from samplug.engine.base_runner import SamplugRunnerMixin
from samplug.engine.launch import join_on_cpu
from samplug.registry import RUNNERS
from samplug.utils.errors import ConfigError


@RUNNERS.register_module()
class SamplugRunner(SamplugRunnerMixin, Runner):
    """Runner whose weights are strict; use it with ``runner_type='SamplugRunner'``.

    What differs from MMEngine's:

    * Checkpoints are read without pickle, and configs in them are never executed (MMEngine falls back to full unpickling, and
      ``resume`` executes ``meta['config']``).
    * A checkpoint must fit the model entry by entry; it may leave out only what ``init_cfg`` supplies.
    * A test takes weights from ``init_cfg``, overlaid by the checkpoint, and stops if a parameter came from neither.
      ``load_from='none'`` tests what ``init_cfg`` gives, ``'untrained'`` the random start (a floor to compare with).
    * Frozen parameters are not in the optimiser.
    * Several processes run without GPUs too, over gloo.
    * Random augmentation is a function of (seed, epoch, sample): neither workers, nor batches, nor ranks, nor an interruption
      change it (:mod:`samplug.datasets.seeding`).
    * A checkpoint is written to a temporary file and renamed; ``resume`` without a file takes the newest that can be read
      (``resume_fall_back=False``: an unreadable newest one stops the run).
    """

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            join_on_cpu(self.launcher, env_cfg.get("dist_cfg", {}).get("timeout"))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        if (
            self.distributed
            and not torch.cuda.is_available()
            and model_wrapper_cfg is None
            and not is_model_wrapper(model)
        ):
            if self.cfg.get("sync_bn"):
                raise ConfigError("train: sync_bn needs GPUs: leave it out, or train on GPUs")
            # MMEngine names a GPU for each process.
            return MMDistributedDataParallel(
                model, broadcast_buffers=False, find_unused_parameters=self.cfg.get("find_unused_parameters", False)
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def build_optim_wrapper(self, optim_wrapper: dict[str, Any] | OptimWrapper) -> OptimWrapper:
        if isinstance(optim_wrapper, Mapping):
            optim_wrapper = {"constructor": "samplug.TrainableOptimWrapperConstructor", **optim_wrapper}
        return super().build_optim_wrapper(optim_wrapper)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = "default",
    ) -> None:
        """Resume training; arguments as MMEngine's.

        Raises:
            WeightsError: The file cannot be read safely, does not fit, or holds weights without training state.
        """
        checkpoint = self._read_ahead = self.open_to_resume(filename)
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        self.restore_state(filename, checkpoint)
