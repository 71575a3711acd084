"""Features of a frozen encoder on disk: each image is encoded once, whatever the number of epochs and runs."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather, broadcast_object_list, get_rank, get_world_size
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from samplug.checkpoints import digest
from samplug.datasets.configs import pipelines_of, step_name
from samplug.datasets.seeding import SeededDataset, SeededIndex
from samplug.features import VectorStore
from samplug.models.probe import LinearProbe
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.text import gib, listed
from samplug.version import __version__

_TRIED = 8  # images that are loaded twice in search of random augmentation
_OWN_GENERATORS = ("Albu",)  # transforms whose randomness shows in no seeded generator
_ENCODER_UNCHANGED_BY = ("init_cfg", "with_cp", "frozen")
_SECONDS_PER_LINE = 60.0


class NotCached(Exception):
    """The features of a dataset cannot be kept; the message gives the reason."""


class FeatureCache:
    """Records of a :class:`LinearProbe`'s encoder in a file, see :meth:`Readout.record`.

    The file is named by everything but the image that defines a record: weights and settings of the encoder, readout,
    normalisation, the pipeline and samplug's version. Datasets with equal pipelines share it. The file
    identifies an image by path, size and time of last change.

    Args:
        model: The probe, on its device.
        encoder: Config of its encoder.
        folder: Folder of the files.
        dtype: ``'float32'`` or ``'float16'`` in the file.
    """

    def __init__(self, model: LinearProbe, encoder: Mapping[str, Any], folder: str | Path, dtype: str) -> None:
        self.model = model
        self.encoder = {key: value for key, value in encoder.items() if key not in _ENCODER_UNCHANGED_BY}
        self.folder = Path(folder).expanduser()
        self.dtype = dtype
        self._weights: str | None = None
        self._keys: list[str] = []  # of the dataset in hand, in the main process
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)

    def rows(self, loader: DataLoader, dataset: Any) -> tuple[VectorStore, NDArray[np.int64]]:
        """Compute the records that are missing, in all processes together; all of them must call it.

        Args:
            loader: Loader of the images; its workers and batch size are used, its order is not.
            dataset: Config of its dataset.

        Returns:
            The file, and the row of each sample of the dataset, (N,) int64.

        Raises:
            NotCached: The images are augmented at random, or are no files.
            DataError: A feature is not finite, or the file cannot be used.
        """
        plan = _from_main(self._plan, loader, dataset)
        if isinstance(plan, str):
            raise NotCached(plan)
        path, source, missing = plan
        if missing:
            self._fill(self._open(path, source), missing, loader)
        # The others open the file when the main process has written and closed it.
        rows: NDArray[np.int64] = _from_main(self._found, path, source, bool(missing))
        store = self._open(path, source)
        try:
            store.values(rows[rows.argmax() :][:1])
        except DataError as error:
            raise DataError(f"{error}: cache_dir must be on a disk that all processes share") from error
        return store, rows

    def _plan(self, loader: DataLoader, dataset: Any) -> str | tuple[Path, str, list[tuple[int, str]]]:
        """Return the reason not to keep features; or the file, its source, and samples to compute with their keys."""
        try:
            source = self._source(dataset)
            self._keys = keys = _image_keys(loader.dataset)
            path = self.folder / f"{source[:16]}.vectors"
            store = self._open(path, source)
            self._rows = store.rows(keys)
            # A dataset may have an image several times: the first one is encoded.
            missing = {keys[index]: index for index in np.flatnonzero(self._rows < 0)[::-1].tolist()}
            if missing:
                _require_plain(loader.dataset, dataset)
                self._announce(path, len(missing), len(keys), store.record_bytes)
        except NotCached as reason:
            return str(reason)
        return path, source, sorted((index, key) for key, index in missing.items())

    def _source(self, dataset: Any) -> str:
        """Return the digest of everything but the image that defines a record."""
        settings = getattr(self.model.data_preprocessor, "settings", None)
        if settings is None:
            raise NotCached(f"{type(self.model.data_preprocessor).__name__} does not tell its settings")
        if self.model.backbone.store is not None:
            raise NotCached("the encoder keeps its maps on disk itself: set the encoder itself as backbone")
        if self._weights is None:
            state = self.model.backbone.state_dict()
            self._weights = digest(state, state)
        pipelines = {_as_text(pipeline) for pipeline in pipelines_of(dataset)}
        if len(pipelines) != 1:
            raise NotCached("its parts have different pipelines" if pipelines else "it has no pipeline")
        readout = self.model.readout.settings
        parts = [__version__, _as_text(self.encoder), self._weights, readout, settings, *pipelines, self.dtype]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _announce(self, path: Path, missing: int, images: int, record: int) -> None:
        """Log what will be computed; raise a DataError if the disk has no space for it."""
        disk = next(place for place in (self.folder.absolute(), *self.folder.absolute().parents) if place.exists())
        size, free = missing * record, shutil.disk_usage(disk).free
        print_log(
            f"features: {missing} of {images} images are encoded once and kept in {path} ({gib(size)})", "current"
        )
        if size > free:
            raise DataError(
                f"features: {gib(size)} are needed in {self.folder}, and {gib(free)} are free: set cache_dir to "
                "another disk, or to None to run the encoder in every epoch"
            )

    @torch.no_grad()
    def _fill(self, store: VectorStore, missing: Sequence[tuple[int, str]], loader: DataLoader) -> None:
        """Encode samples, each process a share of every step; the main process writes."""
        batches: Any = loader.batch_sampler
        batch: int = loader.batch_size or batches.batch_size
        step = batch * get_world_size()
        own = [missing[(start + offset) % len(missing)] for start, offset in _shares(len(missing), batch)]
        done, told = 0, time.monotonic()
        with store:
            for first, items in enumerate(_plain_loader(loader, [index for index, _ in own], batch)):
                vectors = torch.cat(all_gather(self._encode(items)))
                if get_rank() == 0:
                    keys = [key for _, key in missing[first * step :][:step]]
                    store.append(keys, vectors[: len(keys)].cpu().numpy())
                done = min(done + step, len(missing))
                if time.monotonic() - told > _SECONDS_PER_LINE:
                    told = time.monotonic()
                    print_log(f"features: {done} of {len(missing)} images are encoded", "current")

    def _encode(self, items: Sequence[tuple[Any, bool]]) -> Tensor:
        """Return the records (N, dim) of loaded samples."""
        paths = [item["data_samples"].get("img_path") for item, _ in items]
        drawn = [path for path, (_, random_numbers) in zip(paths, items, strict=True) if random_numbers]
        if drawn:
            raise DataError(
                f"features: the pipeline draws random numbers for {drawn[0]} and not for the first images: remove "
                "the augmentation, or set cache_dir=None"
            )
        batch = self.model.data_preprocessor(pseudo_collate([item for item, _ in items]), False)
        record = self.model.readout.record(batch["inputs"])
        finite = record.isfinite().all(dim=1)
        if not finite.all():
            path = paths[int(finite.logical_not().nonzero()[0])]
            raise DataError(
                f"features: the feature of {path} is NaN or infinite: check the weights and model.readout.dtype"
            )
        return record

    def _found(self, path: Path, source: str, filled: bool) -> NDArray[np.int64]:
        rows = self._open(path, source).rows(self._keys) if filled else self._rows
        if (rows < 0).any():
            raise DataError(f"features: {path} was damaged while it was written: check the disk and start again")
        return rows

    def _open(self, path: Path, source: str) -> VectorStore:
        return VectorStore(path, self.model.readout.dim, source, self.dtype)


class _PlainSamples(Dataset):
    """Chosen samples, each with True if it drew random numbers."""

    def __init__(self, dataset: SeededDataset, indexes: Sequence[int]) -> None:
        self.dataset, self.indexes = dataset, indexes

    def __getitem__(self, place: int) -> tuple[Any, bool]:
        return self.dataset.with_randomness(self.indexes[place])

    def __len__(self) -> int:
        return len(self.indexes)


def _plain_loader(loader: DataLoader, indexes: Sequence[int], batch: int) -> DataLoader:
    """Make a loader of chosen samples in order, with the workers of another one."""
    dataset: Any = loader.dataset
    return DataLoader(
        _PlainSamples(dataset, indexes),
        batch,
        num_workers=loader.num_workers,
        collate_fn=list,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator(),  # the model's random numbers do not change
    )


def _shares(count: int, batch: int) -> Iterator[tuple[int, int]]:
    """Yield (start of the step, place in it) of this process: steps of ``batch`` in each process, all equally long."""
    world, rank = get_world_size(), get_rank()
    for start in range(0, count, batch * world):
        size = -(-min(batch * world, count - start) // world)  # of each process in this step
        yield from ((start, rank * size + offset) for offset in range(size))


def _from_main(function: Any, *arguments: Any) -> Any:
    """Call a function in the main process and return its result in all."""
    result = [function(*arguments) if get_rank() == 0 else None]
    broadcast_object_list(result)
    return result[0]


def _image_keys(dataset: Any) -> list[str]:
    """Return the key of each sample's image file: of its path, size and time of its last change."""
    keys = []
    for index in range(len(dataset)):
        try:
            path = os.path.abspath(dataset.get_data_info(index)["img_path"])
            stat = os.stat(path)
        except (KeyError, AttributeError, OSError) as error:
            raise NotCached("its images are no files") from error
        keys.append(hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest())
    return keys


def _require_plain(dataset: Any, config: Any) -> None:
    """Raise :class:`NotCached` if the pipeline augments at random."""
    if not isinstance(dataset, SeededDataset):
        raise NotCached("its augmentation is not seeded")
    steps = [step_name(step) for pipeline in pipelines_of(config) for step in pipeline]
    names = listed(step for step in steps if step.startswith("Random") or step in _OWN_GENERATORS)
    reason = f"images are augmented at random{f' ({names})' if names else ''}"
    if any(step in _OWN_GENERATORS for step in steps):
        raise NotCached(reason)
    for index in sorted(set(np.linspace(0, len(dataset) - 1, _TRIED).round().astype(int).tolist())):
        (first, drew), second = dataset.with_randomness(index), dataset[SeededIndex(index, 1)]
        if drew or not torch.equal(first["inputs"], second["inputs"]):
            raise NotCached(reason)


def _as_text(value: Any) -> str:
    """Return a part of a config as text that is the same in every run."""
    return json.dumps(value, sort_keys=True, default=_name_of)


def _name_of(value: Any) -> str:
    """Name a class or function of a pure Python config.

    Raises:
        ConfigError: The value is something else, which might not be told from another one.
    """
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise ConfigError(
        f"features: encoder or pipeline has a {type(value).__name__} in the config, which cannot be compared "
        "between runs: write plain values, or set cache_dir=None"
    )
