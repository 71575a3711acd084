"""Loaders of records that were computed before, in place of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from samplug.datasets.transforms.formatting import CLASS_META_KEYS
from samplug.features import VectorStore
from samplug.structures import ClassDataSample
from samplug.utils.errors import DataError


class RecordDataset(Dataset):
    """A dataset whose samples are records instead of images, read in whole batches; no image is opened.

    All other attributes come from the dataset of images.

    Args:
        images: Dataset of the images, with ``get_data_info``.
        store: File of the records.
        rows: (N,) row of each sample.
        whole: Batches have one :class:`ClassDataSample` with ``gt_label`` (B,), all that training reads, in place of a
            sample for each image. This takes a hundredth of the time.
    """

    def __init__(self, images: Any, store: VectorStore, rows: NDArray[np.int64], whole: bool) -> None:
        self.images, self.store, self.rows = images, store, rows
        self.labels: torch.Tensor | None = None
        if whole:
            self.labels = torch.tensor([self._label(index) for index in range(len(images))])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indexes: Sequence[int]) -> dict[str, Any]:
        """Return a batch: ``inputs`` (B, R) float32, and ``data_samples``, see ``whole``."""
        places = np.asarray(indexes, np.int64)
        records = torch.from_numpy(self.store.values(self.rows[places])).float()
        if self.labels is not None:
            return dict(inputs=records, data_samples=ClassDataSample(gt_label=self.labels[torch.from_numpy(places)]))
        return dict(inputs=records, data_samples=[self._sample(index) for index in places.tolist()])

    def _sample(self, index: int) -> ClassDataSample:
        info = self.images.get_data_info(index)
        sample = ClassDataSample(metainfo={key: info[key] for key in CLASS_META_KEYS if key in info})
        return sample.set_gt_label(info["gt_label"]) if "gt_label" in info else sample

    def _label(self, index: int) -> int:
        info = self.images.get_data_info(index)
        label = np.ravel(info.get("gt_label", ()))
        if len(label) != 1:
            raise DataError(f"probe: {info['img_path']} has {len(label)} labels: a probe takes one class an image")
        return int(label[0])

    def __getattr__(self, name: str) -> Any:
        if name == "images" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.images, name)


def record_loader(loader: DataLoader, dataset: RecordDataset) -> DataLoader:
    """Make a loader of records in the order and batches of a loader of images, with its sampler.

    It has no workers: a batch is one read of a memory map.
    """
    batches: dict[str, Any] = dict(batch_sampler=loader.batch_sampler)
    if loader.batch_size is not None:
        batches = dict(batch_size=loader.batch_size, sampler=loader.sampler, drop_last=loader.drop_last)
    return DataLoader(
        dataset, **batches, collate_fn=_as_it_is, pin_memory=loader.pin_memory, generator=loader.generator
    )


def _as_it_is(batch: Any) -> Any:
    return batch
