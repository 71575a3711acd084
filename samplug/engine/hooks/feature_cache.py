"""Encode each image once in the training and the tests of a linear probe."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from samplug.engine.feature_cache import FeatureCache, NotCached
from samplug.engine.fsdp import is_sharded
from samplug.engine.record_loader import RecordDataset, record_loader
from samplug.models.probe import LinearProbe
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError, check_choice


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """Keep the pooled features that a :class:`LinearProbe` reads in a file, so that each image is encoded once.

    Before a training, a validation or a test the missing features are computed, in all processes together. The loaders
    then read features: no image is opened, the encoder does not run. A run that was killed continues where it stopped.

    Training, validation and tests are decided on separately: if the pipeline of one draws random numbers, its images
    are encoded each time, and the log says so. So are images that are no files.

    A file is valid for one encoder with its weights, readout, normalisation and pipeline; each feature in it for one
    path, size and time of last change of an image. Datasets with equal pipelines share a file, so a bank for nearest
    neighbours reads the training's features. After a change in the code of your own transform, delete the files.

    Args:
        cache_dir: Folder of the files, on a disk that all processes share; it may be deleted between runs. None: the
            encoder runs in every epoch.
        dtype: ``'float32'``, the values that the model would compute, or ``'float16'``, half the space.

    Raises:
        ConfigError: The model is no LinearProbe, or ``dtype`` is unknown.
        DataError: A feature is not finite, the disk is full, or another process writes the file.
    """

    def __init__(self, cache_dir: str | None = "work_dirs/features", dtype: str = "float32") -> None:
        check_choice("FeatureCacheHook", "dtype", dtype, ("float32", "float16"))
        self.cache_dir = cache_dir
        self.dtype = dtype
        self._cache: FeatureCache | None = None
        self._encoded_anew: set[str] = set()
        self._image_loaders: dict[str, DataLoader] = {}
        self._current: set[str] = set()  # phases whose records are those of the loaded weights

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        self._cache = None  # the encoder's weights may be others now
        self._current.clear()

    def before_train(self, runner: Runner) -> None:
        self._use_records(runner, runner.train_loop, "train")
        if runner.val_loop is not None:  # now, not after the first epoch
            self._use_records(runner, runner.val_loop, "val")

    def before_val(self, runner: Runner) -> None:
        self._use_records(runner, runner.val_loop, "val")

    def before_test(self, runner: Runner) -> None:
        self._use_records(runner, runner.test_loop, "test")

    def _use_records(self, runner: Any, loop: Any, phase: str) -> None:
        """Let a loop read records in place of images, if they can be kept."""
        has_records = isinstance(loop.dataloader.dataset, RecordDataset)
        if self.cache_dir is None or phase in self._encoded_anew or (has_records and phase in self._current):
            return
        model, loader = runner.bare_model, self._image_loaders[phase] if has_records else loop.dataloader
        if not isinstance(model, LinearProbe):
            raise ConfigError(
                f"FeatureCacheHook: {type(model).__name__} reads no pooled features: remove it from the hooks"
            )
        try:
            if is_sharded(runner.model):
                raise NotCached("the model is sharded")
            if self._cache is None:
                self._cache = FeatureCache(model, runner.cfg.model.backbone, self.cache_dir, self.dtype)
            config = runner.cfg.get(f"{phase}_dataloader") or {}
            store, rows = self._cache.rows(loader, config.get("dataset"))
        except NotCached as reason:
            self._encoded_anew.add(phase)
            loop.dataloader = loader
            runner.logger.info(f"features: the encoder runs for each image of the {phase} data in each pass: {reason}")
            return
        self._image_loaders[phase] = loader
        self._current.add(phase)
        loop.dataloader = record_loader(loader, RecordDataset(loader.dataset, store, rows, whole=phase == "train"))
        if hasattr(loop, "dataloader_iterator"):
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)
        runner.logger.info(f"features: the {phase} data are {len(rows)} features of {store.path}; no image is read")
