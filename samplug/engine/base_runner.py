"""What samplug's runners share: weights that are safe to open and never silently wrong, and augmentation that can be repeated."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process, sync_random_seed
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from samplug.checkpoints import WeightsError, fetch, read_checkpoint
from samplug.datasets.seeding import SeededDataset, SeededSampler
from samplug.engine.build_errors import named_in
from samplug.engine.resume import latest_checkpoint
from samplug.engine.resume_state import STATE_KEY, own_generators, set_accumulated_gradients, set_generator_states
from samplug.engine.run_errors import SaveError, save_message
from samplug.engine.weights import apply_checkpoint, check_omitted, load_for_evaluation
from samplug.evaluation.sets_evaluator import SetsEvaluator
from samplug.utils.errors import ConfigError


class SamplugRunnerMixin:
    """Mixin before a runner of MMEngine; what it changes is listed at :class:`samplug.engine.runner.SamplugRunner`."""

    cfg: Config
    logger: MMLogger
    model: Any
    work_dir: str
    log_dir: str
    call_hook: Callable[..., None]
    resume: Callable[..., None]
    train_loop: Any
    world_size: int
    _has_loaded: bool
    _load_from: str | None
    _resume: bool
    _train_loop: Any

    _read_ahead: dict[str, Any] | None = None  # a checkpoint that is open already
    _generators: dict[str, Any] | None = None  # of a resumed run, until its loop begins

    @classmethod
    def from_cfg(cls, cfg: Config) -> Any:
        """Build a Runner from a config; MMEngine's.

        Raises:
            ConfigError: A part cannot be built: a wrong key or type, see :func:`samplug.engine.build_errors.named_in`.
        """
        with named_in(cfg):
            return super().from_cfg(cfg)  # type: ignore[misc]

    # What a phase alone needs (loaders, loops, optimiser, schedules) is built when it begins.
    def train(self) -> nn.Module:
        with named_in(self.cfg):
            return super().train()  # type: ignore[misc]

    def val(self) -> dict[str, float]:
        with named_in(self.cfg):
            return super().val()  # type: ignore[misc]

    def test(self) -> dict[str, float]:
        with named_in(self.cfg):
            return super().test()  # type: ignore[misc]

    @property
    def bare_model(self) -> nn.Module:
        """The model without wrappers, for data parallelism or test-time augmentation."""
        model = self.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        return model

    def dump_config(self) -> None:
        """Write the config into the work folder; that of a test goes to its log, lest it replaces a training's."""
        if self._train_loop is not None:
            super().dump_config()  # type: ignore[misc]
        else:
            self.cfg.dump(Path(self.log_dir) / (Path(self.cfg.filename).name if self.cfg.filename else "config.py"))

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """MMEngine's, with a :class:`SeededSampler` and a :class:`SeededDataset` around the sampler and the dataset.

        Args:
            dataloader: Config of a DataLoader; a DataLoader is returned as it is, its workers' randomness unchanged.
            seed: Seed of samplers and augmentation. None: a random one, the same in all ranks.
            diff_rank_seed: Says that ``seed`` differs between ranks: samplers and augmentation get a common random one.
        """
        if isinstance(dataloader, DataLoader):
            return dataloader
        if dataloader.get("sampler") is None:
            raise ConfigError(
                "data: a dataloader needs a sampler, e.g. sampler=dict(type='DefaultSampler', shuffle=True)"
            )
        common = sync_random_seed() if seed is None or diff_rank_seed else seed
        wrapped = {
            **dataloader,
            "dataset": dict(type=SeededDataset, dataset=dataloader["dataset"], seed=common),
            "sampler": dict(type=SeededSampler, sampler=dataloader["sampler"]),
            # Starting workers draws a number: from here, not from the generator that a model may draw from.
            "generator": torch.Generator().manual_seed(common),
        }
        loader = Runner.build_dataloader(wrapped, seed, diff_rank_seed)
        _check_names(getattr(loader.dataset, "datasets", ()))
        return loader

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """MMEngine's, with a :class:`SetsEvaluator` where the config names no evaluator."""
        if isinstance(evaluator, Evaluator) or (
            isinstance(evaluator, Mapping) and "type" in evaluator and "metrics" in evaluator
        ):
            return super().build_evaluator(evaluator)  # type: ignore[misc]
        return SetsEvaluator(
            evaluator["metrics"] if isinstance(evaluator, Mapping) and "metrics" in evaluator else evaluator
        )

    def build_val_loop(self, loop: Any) -> BaseLoop:
        return self._described(super().build_val_loop(loop))  # type: ignore[misc]

    def build_test_loop(self, loop: Any) -> BaseLoop:
        return self._described(super().build_test_loop(loop))  # type: ignore[misc]

    def _described(self, loop: Any) -> Any:
        """Tell a loop's evaluator what it evaluates."""
        if isinstance(evaluator := getattr(loop, "evaluator", None), SetsEvaluator):
            evaluator.describe(loop.dataloader.dataset, lambda: self.model)
        return loop

    def load_or_resume(self) -> None:
        if isinstance(self._train_loop, BaseLoop):  # training: init_weights has run
            if self._resume and self._load_from is None and not self._has_loaded:
                self._resume_latest()
            else:
                super().load_or_resume()  # type: ignore[misc]
        elif not self._has_loaded:
            self._load_for_evaluation()
            self._has_loaded = True

    def _resume_latest(self) -> None:
        found = latest_checkpoint(self.work_dir, self.cfg.get("resume_fall_back", True))
        if found is None:
            self.logger.info(f"resume: {self.work_dir} has no checkpoint, training starts at the beginning")
            return
        path, self._read_ahead = found
        self.resume(str(path))
        self._has_loaded = True

    def _load_for_evaluation(self) -> None:
        load_for_evaluation(
            self.bare_model,
            self._load_from,
            on_read=lambda checkpoint: self.call_hook("after_load_checkpoint", checkpoint=checkpoint),
        )

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
            strict: False loads what fits and logs the rest.
            revise_keys: Unused: layouts are recognised by their keys.

        Returns:
            The checkpoint.

        Raises:
            WeightsError: It cannot be read safely or does not fit; entries may be missing only if ``init_cfg`` supplies them.
        """
        checkpoint, self._read_ahead = self._read_ahead or read_checkpoint(fetch(filename)), None
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        apply_checkpoint(self.bare_model, checkpoint, filename, strict)
        check_omitted(self.bare_model, checkpoint, filename)
        self._has_loaded = True
        return checkpoint

    def open_to_resume(self, filename: str) -> dict[str, Any]:
        """The checkpoint that training is to go on from; its weights are loaded by :meth:`load_checkpoint`.

        Raises:
            WeightsError: The file cannot be read safely, or holds weights without training state.
        """
        checkpoint, self._read_ahead = self._read_ahead or read_checkpoint(fetch(filename)), None
        lacking = [key for key in ("meta", "message_hub", "optimizer") if key not in checkpoint]
        if lacking:
            raise WeightsError(
                f"resume: {filename} holds no training state (no {', '.join(lacking)}): to start from its weights use "
                f"load_from={filename!r} without --resume"
            )
        checkpoint["meta"].pop("config", None)  # MMEngine would execute it
        self._read_ahead = checkpoint
        return checkpoint

    def restore_state(self, filename: str, checkpoint: Mapping[str, Any]) -> None:
        """What a checkpoint holds beyond MMEngine's (:mod:`samplug.engine.resume_state`), after the rest of it has been restored."""
        if state := checkpoint["meta"].get(STATE_KEY):
            self.train_loop.samples_seen = state["samples_seen"]
            set_accumulated_gradients(self.bare_model, state["gradients"])
            self._generators = own_generators(state)
            if self._generators is None:
                self.logger.warning(
                    f"resume: {filename} was written by {len(state['generators'])} processes, there are {self.world_size} now: what a model "
                    f"draws at random in its forward pass goes on from the seed (data and augmentation are not affected)"
                )
        seed, dataset = checkpoint["meta"].get("seed"), self.train_loop.dataloader.dataset
        if seed is not None and isinstance(dataset, SeededDataset) and dataset.augmentation_seed != seed:
            self.logger.warning(
                f"resume: {filename} was written with seed {seed}, the data come in the order of {dataset.augmentation_seed} now, some of them again: "
                f"set randomness=dict(seed={seed}) to go on as if the run had not been broken"
            )

    def restore_generators(self) -> None:
        """Put the generators where the checkpoint found them; loops call it right before their first step."""
        if self._generators is not None:
            set_generator_states(self._generators)
            self._generators = None

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save as MMEngine does, but first under a temporary name: a file under its own name is always whole.

        Raises:
            SaveError: No space, or no permission; what was there before is whole.
        """
        save = super().save_checkpoint  # type: ignore[misc]
        if "://" in str(out_dir):  # a remote store has its own way
            save(out_dir, filename, *args, **kwargs)
            return
        partial, target = Path(out_dir) / f".{filename}.partial", Path(out_dir) / filename
        try:
            # In all ranks: each may hold a part of what rank 0 writes.
            save(out_dir, partial.name, *args, **kwargs)
            if is_main_process():
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())  # the rename must not reach the disk before the content
                os.replace(partial, target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise SaveError(save_message(target, error)) from error


def _check_names(datasets: Iterable[Any]) -> None:
    """Two sets of one name would share a row of metrics."""
    folders: dict[str, Path] = {}
    for dataset in datasets:
        name, folder = getattr(dataset, "name", None), getattr(dataset, "image_dir", None)
        if name is not None and folder is not None and folders.setdefault(name, folder) != folder:
            raise ConfigError(
                f"data: {folders[name]} and {folder} are both called {name!r}, and would share a row of metrics: give each dataset "
                f"a name=..."
            )
