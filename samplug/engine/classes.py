"""Counting of classes for a config that leaves their number to the data."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from samplug.datasets.configs import datasets_of
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError


def count_classes(cfg: Config) -> None:
    """Replace ``model.num_classes=None`` by the number of classes of the training data, or else of the tested data.

    Only folders and lists are read. Nothing happens if the model has another ``num_classes``, or none.

    Raises:
        ConfigError: No dataset of the config has classes that can be counted.
        DataError: The classes cannot be used, see :class:`samplug.datasets.ImageFolderDataset`.
    """
    model = cfg.get("model")
    if not isinstance(model, Mapping) or "num_classes" not in model or model["num_classes"] is not None:
        return
    for phase in ("train", "val", "test"):
        for settings in datasets_of((cfg.get(f"{phase}_dataloader") or {}).get("dataset")):
            kind = DATASETS.get(settings.get("type"))
            if hasattr(kind, "find_classes"):
                dataset: Any = DATASETS.build({**settings, "lazy_init": True})
                cfg.model["num_classes"] = len(dataset.find_classes())
                return
    raise ConfigError(
        "config: model.num_classes=None counts the classes of the data, and no dataset has folders or a list of "
        "classes: set num_classes"
    )
