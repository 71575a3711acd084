"""MMEngine's Runner with strict weights, safe files, exact resume and repeatable augmentation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process, master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.model.utils import convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    BaseLoop,
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from torch import nn
from torch.utils.data import DataLoader

from samplug.checkpoints import WeightsError, drop_code_in_config, fetch, read_checkpoint, state_dict_of
from samplug.engine.build_errors import named_in, part
from samplug.engine.classes import count_classes
from samplug.engine.dataloaders import build_seeded_dataloader
from samplug.engine.fsdp import build_strategy, gathered, is_sharded, sharded_optimizer_state
from samplug.engine.launch import join_on_cpu, wrapper_on_cpu
from samplug.engine.log_files import tolerate_full_disks, unused_name, write_config
from samplug.engine.resume import Resumption, latest_checkpoint
from samplug.engine.resume_state import set_generator_states
from samplug.engine.run_errors import SaveError, explained, full_disks_named, save_message, stop_explained
from samplug.engine.screen import ScreenFilter, describe_run
from samplug.engine.weights import apply_checkpoint, check_omitted, load_for_evaluation
from samplug.engine.work_folder import WorkFolder, work_folder
from samplug.evaluation.sets_evaluator import SetsEvaluator, check_reports
from samplug.registry import RUNNERS
from samplug.utils.errors import ConfigError
from samplug.utils.files import replacing

_BEGINNINGS = {"before_train": "train", "before_val": "val", "before_test": "test"}


@RUNNERS.register_module()
class SamplugRunner(Runner):
    """Runner with strict weights; use it with ``runner_type='SamplugRunner'``.

    Differences from MMEngine's:

    * Checkpoints are read without pickle, and configs in them are never executed (MMEngine falls back to full
      unpickling, and ``resume`` executes ``meta['config']``).
    * A checkpoint must fit the model entry by entry; it may leave out only the entries that ``init_cfg`` supplies.
    * A test loads the weights of ``init_cfg``, then those of the checkpoint, and stops if a parameter is in neither.
      ``load_from='none'`` tests the weights of ``init_cfg``, ``'untrained'`` the random initialisation (as a lower
      bound).
    * Frozen parameters are not in the optimiser.
    * Several processes also run without GPUs, with gloo.
    * Random augmentation is a function of (seed, epoch, sample), independent of workers, batches, ranks and
      interruptions (:mod:`samplug.datasets.seeding`).
    * A checkpoint is written to a temporary file and renamed. ``resume`` without a file uses the newest readable
      checkpoint (``resume_fall_back=False``: an unreadable newest checkpoint stops the run).
    * A work directory has one training at a time (:mod:`samplug.engine.work_folder`). A new training overwrites the
      checkpoints of an earlier training only with ``overwrite_work_dir=True``.
    * The screen shows a summary of the start, see :mod:`samplug.engine.screen`; ``verbose=True`` shows the content of
      the log file.
    * ``strategy=dict(type='FSDPStrategy', ...)`` in the config shards the model (experimental), see
      :class:`FSDPStrategy`.
    """

    _has_loaded: bool
    folder: WorkFolder | None = None  # while rank 0 trains
    has_trained = False
    _screen: ScreenFilter | None = None
    _begun = False  # a loop has begun, and the run was described
    _opened: dict[str, Any] | None = None  # checkpoint that was read but not loaded yet
    _generators: dict[str, Any] | None = None  # states of a resumed run, until its loop begins
    _gathered: Mapping[str, Any] | None = None  # whole tensors of a sharded model while it is saved

    @classmethod
    def from_cfg(cls, cfg: Config) -> Any:
        """Build a Runner from a config.

        Raises:
            ConfigError: A component cannot be built, see :func:`samplug.engine.build_errors.named_in`.
            WriteError: Logs or the config cannot be written.
        """
        with named_in(cfg), full_disks_named(cfg.work_dir):
            count_classes(cfg)
            return super().from_cfg(cfg)

    # Loaders, loops, optimisers and schedules are built when the phase that needs them begins. Loops explain their
    # failures; the loss of a worker may be reported outside them, while hooks record another failure.
    def train(self) -> nn.Module:
        with named_in(self.cfg), explained(self), stop_explained(self), work_folder(self):
            model = super().train()
        check_reports(self._val_loop)
        return model

    def val(self) -> dict[str, float]:
        with named_in(self.cfg), explained(self):
            scores = super().val()
        check_reports(self._val_loop)
        return scores

    def test(self) -> dict[str, float]:
        with named_in(self.cfg), explained(self):
            scores = super().test()
        check_reports(self._test_loop)
        return scores

    @property
    def bare_model(self) -> nn.Module:
        """The model without wrappers for data parallelism or test-time augmentation."""
        model = self.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        return model

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        # The config's text is written often, also for each checkpoint, so skip MMEngine's formatter.
        object.__setattr__(self.cfg, "_format_python_code", False)
        if self.distributed and not is_distributed() and not torch.cuda.is_available():
            join_on_cpu(self.launcher, env_cfg.get("dist_cfg", {}).get("timeout"))
        super().setup_env(env_cfg)
        self._timestamp = unused_name(self.timestamp)
        self._strategy = build_strategy(self.cfg.get("strategy"))

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        tolerate_full_disks(logger)
        if not self.cfg.get("verbose"):
            self._screen = ScreenFilter.of(logger)
        return logger

    @master_only
    def dump_config(self) -> None:
        """Write the config of a test into its log folder; a training writes its own when it begins."""
        if self._train_loop is None:
            self._write_config(self.log_dir, "config.py")

    def _write_config(self, folder: str, unnamed: str) -> None:
        write_config(self.cfg, Path(folder) / (Path(self.cfg.filename).name if self.cfg.filename else unnamed))

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        sync_bn, on_cpu = self.cfg.get("sync_bn"), not torch.cuda.is_available()
        if (self.distributed or self._strategy) and on_cpu and sync_bn:
            raise ConfigError("train: sync_bn needs GPUs: leave it out, or train on GPUs")
        if self._strategy and self._train_loop is not None:  # sharded when its weights are loaded
            return convert_sync_batchnorm(model, sync_bn) if sync_bn else model
        if self.distributed and on_cpu:
            model_wrapper_cfg = wrapper_on_cpu(self.cfg, model_wrapper_cfg)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_optim_wrapper(self, optim_wrapper: dict[str, Any] | OptimWrapper) -> OptimWrapper:
        if isinstance(optim_wrapper, Mapping):
            optim_wrapper = {"constructor": "samplug.TrainableOptimWrapperConstructor", **optim_wrapper}
        return super().build_optim_wrapper(optim_wrapper)

    # These parts need no type, so no registry notes that they are built.
    def build_log_processor(self, log_processor: LogProcessor | dict[str, Any]) -> LogProcessor:
        with part(log_processor, LogProcessor):
            return super().build_log_processor(log_processor)

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        by_epoch = isinstance(loop, Mapping) and loop.get("by_epoch")
        with part(loop, EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop):
            return super().build_train_loop(loop)

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        with part(loop, ValLoop):
            return self._described(super().build_val_loop(loop))

    def build_test_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        with part(loop, TestLoop):
            return self._described(super().build_test_loop(loop))

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Build an evaluator; a :class:`SetsEvaluator` where the config names none."""
        if isinstance(evaluator, Evaluator) or (
            isinstance(evaluator, Mapping) and "type" in evaluator and "metrics" in evaluator
        ):
            return super().build_evaluator(evaluator)
        metrics = evaluator["metrics"] if isinstance(evaluator, Mapping) and "metrics" in evaluator else evaluator
        return SetsEvaluator(metrics)

    def _described(self, loop: Any) -> Any:
        """Describe a loop's dataset and the model to its evaluator; return the loop."""
        if isinstance(evaluator := getattr(loop, "evaluator", None), SetsEvaluator):
            evaluator.describe(loop.dataloader.dataset, lambda: self.model)
        return loop

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        return build_seeded_dataloader(dataloader, seed, diff_rank_seed)

    def load_or_resume(self) -> None:
        if isinstance(self._train_loop, BaseLoop):  # training: init_weights has run
            if self._resume and self._load_from is None and not self._has_loaded:
                self._resume_latest()
            else:
                super().load_or_resume()
            self._shard()
            if self.folder:  # now the folder is this training's: nothing was refused
                self.folder.clear()
                self._write_config(self.work_dir, f"{self.timestamp}.py")
        elif not self._has_loaded:
            load_for_evaluation(
                self.bare_model,
                self._load_from,
                on_read=lambda checkpoint: self.call_hook("after_load_checkpoint", checkpoint=checkpoint),
            )
            self._has_loaded = True

    def _resume_latest(self) -> None:
        found = latest_checkpoint(self.work_dir, self.cfg.get("resume_fall_back", True))
        if found is None:
            weights = self.cfg.get("start_from")
            start = f"with the weights of load_from={weights}" if weights else "at the beginning"
            self.logger.info(f"resume: {self.work_dir} has no checkpoint, training starts {start}")
            if weights:
                self.load_checkpoint(str(weights))
            return
        path, self._opened = found
        self.resume(str(path))
        self._has_loaded = True

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = "cpu",
        strict: bool = True,
        revise_keys: list[tuple[str, str]] | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint into the model; arguments as MMEngine's.

        Args:
            filename: Source, see :func:`samplug.checkpoints.fetch`.
            map_location: Unused: files are read to the CPU and copied into the model.
            strict: False loads the entries that fit and logs the others.
            revise_keys: Unused: layouts are recognised by their keys.

        Returns:
            The checkpoint.

        Raises:
            WeightsError: The file cannot be read safely or does not fit (only entries that ``init_cfg`` supplies may be
                missing), or the model is sharded already.
        """
        if is_sharded(self.model):
            raise WeightsError(
                f"weights: {filename}: the model is sharded already: set load_from before training starts"
            )
        checkpoint, self._opened = self._opened or read_checkpoint(fetch(filename)), None
        if not isinstance(checkpoint.get("state_dict"), Mapping):  # EMAHook reads this entry even for weights alone
            checkpoint["state_dict"] = state_dict_of(checkpoint)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        apply_checkpoint(self.bare_model, checkpoint, filename, strict)
        check_omitted(self.bare_model, checkpoint, filename)
        self._has_loaded = True
        return checkpoint

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = "default",
    ) -> None:
        """Resume training, with MMEngine's arguments.

        Learning rates, their schedule and the optimiser's settings come from the checkpoint, or from the config if it
        has ``resume_schedule='config'``; a line of the log states the values in force.

        Raises:
            WeightsError: The file cannot be read safely, does not fit the run, or has no training state; nothing is
                changed.
            ConfigError: The checkpoint has more iterations than the config.
        """
        checkpoint, self._opened = self._opened or read_checkpoint(fetch(filename)), None  # refused, it is not kept
        resumption = Resumption(self, checkpoint, filename, resume_optimizer, resume_param_scheduler)
        self._opened = checkpoint
        super().resume(filename, resume_optimizer and self._strategy is None, resumption.loads_schedule, map_location)
        if self._strategy:  # the optimiser's state follows its parameters
            self._shard()
            if resume_optimizer:
                self.optim_wrapper.load_state_dict(sharded_optimizer_state(checkpoint["optimizer"], self.optim_wrapper))
        self._generators = resumption.finish()

    def restore_generators(self) -> None:
        """Set the random generators to their states in the checkpoint; loops call it right before their first step."""
        if self._generators is not None:
            set_generator_states(self._generators)
            self._generators = None

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint whole or not at all; arguments as MMEngine's. All ranks must call it, rank 0 writes.

        Raises:
            SaveError: No space, or no permission; the files that were there before are whole.
        """
        # DeferredLosses: a loss that is not finite stops the run here; all others are in the checkpoint.
        self.call_hook("read_losses")
        save = super().save_checkpoint
        if is_sharded(self.model):
            self._gathered = gathered(
                dict(state_dict=self.model.state_dict(), optimizer=self.optim_wrapper.state_dict())
            )
        try:
            if "://" in str(out_dir):  # a remote store
                save(out_dir, filename, *args, **kwargs)
            elif is_main_process():
                if self.folder:
                    self.folder.check()
                with replacing(Path(out_dir) / filename) as partial:
                    save(out_dir, partial.name, *args, **kwargs)
        except OSError as error:
            raise SaveError(save_message(Path(out_dir) / filename, error)) from error
        finally:
            self._gathered = None

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        if fn_name == "before_save_checkpoint" and self._gathered:  # hooks see whole tensors
            checkpoint = kwargs["checkpoint"]
            checkpoint.update({key: value for key, value in self._gathered.items() if key in checkpoint})
        if fn_name == "before_save_checkpoint" and (places := drop_code_in_config(kwargs["checkpoint"])):
            self.logger.warning(f"checkpoint: {', '.join(places)} is left out: the config holds more than plain values")
        super().call_hook(fn_name, **kwargs)
        if fn_name in _BEGINNINGS and not self._begun:
            self._begun = True
            if is_main_process():
                self.logger.info(describe_run(self, _BEGINNINGS[fn_name]), extra=dict(to_screen=True))
            if self._screen:
                self._screen.begun = True

    def _shard(self) -> None:
        if self._strategy is None or is_sharded(self.model):
            return
        if any(isinstance(hook, EMAHook) for hook in self.hooks):
            raise ConfigError(
                "train: EMAHook needs the whole model, which no process has under FSDPStrategy: leave out the hook or "
                "the strategy"
            )
        self._strategy.shard(self.model, self.optim_wrapper)
