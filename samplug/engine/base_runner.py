"""What samplug's runners share: weights that are safe to open and never silently wrong, and augmentation that can be repeated."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process, sync_random_seed
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from samplug.checkpoints import (
    LoadReport,
    WeightsError,
    digest,
    fetch,
    load_pretrained,
    load_state,
    pretrained_names,
    read_checkpoint,
    state_dict_of,
)
from samplug.datasets.draws import DrawSampler, SeededDataset
from samplug.engine.hooks import OMITTED_KEY
from samplug.engine.resume import latest_checkpoint
from samplug.utils.errors import ConfigError

# Values of CHECKPOINT that are no files.
FROM_INIT_CFG = "none"
UNTRAINED = "untrained"


class SamplugRunnerMixin:
    """Mixin before a runner of MMEngine; what it changes is listed at :class:`samplug.engine.runner.SamplugRunner`."""

    cfg: Config
    logger: MMLogger
    model: Any
    work_dir: str
    call_hook: Callable[..., None]
    resume: Callable[..., None]
    _init_model_weights: Callable[[], None]
    _has_loaded: bool
    _load_from: str | None
    _resume: bool
    _train_loop: Any

    _read_ahead: dict[str, Any] | None = None  # a checkpoint that is open already

    @property
    def bare_model(self) -> nn.Module:
        """The model without a data-parallel wrapper."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """MMEngine's, with a :class:`DrawSampler` and a :class:`SeededDataset` around the sampler and the dataset.

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
            "sampler": dict(type=DrawSampler, sampler=dataloader["sampler"]),
        }
        loader = Runner.build_dataloader(wrapped, seed, diff_rank_seed)
        _check_names(getattr(loader.dataset, "datasets", ()))
        return loader

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
        source = str(self._load_from or FROM_INIT_CFG)
        if source == UNTRAINED:
            self.logger.warning("testing the untrained model: random weights, a floor to compare with")
            self._init_model_weights()
        elif source == FROM_INIT_CFG:
            missing = set(self.bare_model.state_dict()) - load_pretrained(self.bare_model)
            if missing:
                raise WeightsError(
                    f"test: no checkpoint was given and init_cfg supplies no weights for {len(missing)} entries of "
                    f"{type(self.bare_model).__name__} ({', '.join(sorted(missing)[:4])}, ...): name a checkpoint"
                )
        else:
            checkpoint = read_checkpoint(fetch(source))
            report = self._apply(checkpoint, source)
            # Pretrained files are read only for what the checkpoint lacks: a whole checkpoint needs no other file.
            if pretrained_names(self.bare_model) - set(report.loaded):
                load_pretrained(self.bare_model)
                self._apply(checkpoint, source)
            self._check_omitted(checkpoint, source)

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
        self._apply(checkpoint, filename, strict)
        self._check_omitted(checkpoint, filename)
        self._has_loaded = True
        return checkpoint

    def _apply(self, checkpoint: dict[str, Any], source: str, strict: bool = True) -> LoadReport:
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.bare_model
        report = load_state(model, state_dict_of(checkpoint), source, strict=strict, may_miss=pretrained_names(model))
        self.logger.info(f"Load checkpoint from {source}")
        return report

    def _check_omitted(self, checkpoint: Mapping[str, Any], source: str) -> None:
        """Stop if the parameters that a checkpoint left out are not those that the model has now."""
        meta = checkpoint.get("meta")
        omitted = meta.get(OMITTED_KEY) if isinstance(meta, Mapping) else None
        if omitted and digest(self.bare_model.state_dict(), omitted["names"]) != omitted["sha256"]:
            raise WeightsError(
                f"weights: {source} was trained on another frozen encoder than the one that init_cfg loads "
                f"({len(omitted['names'])} entries left out of the checkpoint differ): set model.backbone.init_cfg.checkpoint "
                f"to the file used in training"
            )

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

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save as MMEngine does, but first under a temporary name: a file under its own name is always whole."""
        if "://" in str(out_dir):  # a remote store has its own way
            super().save_checkpoint(out_dir, filename, *args, **kwargs)  # type: ignore[misc]
            return
        partial = f".{filename}.partial"
        # In all ranks: each may hold a part of what rank 0 writes.
        super().save_checkpoint(out_dir, partial, *args, **kwargs)  # type: ignore[misc]
        if is_main_process():
            os.replace(Path(out_dir) / partial, Path(out_dir) / filename)


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
