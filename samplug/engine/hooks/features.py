"""Let data workers read stored feature maps."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from samplug.datasets.seeding import SeededDataset
from samplug.features import FeatureReader
from samplug.registry import HOOKS


@HOOKS.register_module()
class FeatureReaderHook(Hook):
    """Let data workers hash the images and read the maps of a :class:`CachedEncoder`, in place of the training process.

    Models without maps on disk, and datasets that samplug's runner does not seed, are left as they are.
    """

    def before_train(self, runner: Runner) -> None:
        self._set_reader(runner, runner.train_loop.dataloader)

    def before_val(self, runner: Runner) -> None:
        self._set_reader(runner, runner.val_loop.dataloader)

    def before_test(self, runner: Runner) -> None:
        self._set_reader(runner, runner.test_loop.dataloader)

    def _set_reader(self, runner: Any, loader: Any) -> None:
        model, dataset = runner.bare_model, loader.dataset
        store = getattr(getattr(model, "backbone", None), "store", None)
        if (
            store is not None
            and isinstance(dataset, SeededDataset)
            and getattr(model.data_preprocessor, "digest", False)
        ):
            dataset.set_step(FeatureReader(store, model.data_preprocessor.settings))
