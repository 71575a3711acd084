"""Random augmentation as a function of (seed, epoch, sample), whatever the workers, batches and ranks.

A worker's random state depends on how many workers there are and on what it has done before. Here the sampler says with each
index in which epoch it is drawn, and the dataset seeds the generators from that for the one sample.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.structures import BaseDataElement
from torch.utils.data import Sampler

from samplug.registry import DATA_SAMPLERS, DATASETS


class SeededIndex(int):
    """The index of a sample, and the epoch in which it is drawn.

    It is an ``int`` with an attribute: batch samplers that look the index up (mmdet's ``AspectRatioBatchSampler``) need not know.
    Two draws of one index are equal, whatever their epochs.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int) -> "SeededIndex":
        draw = super().__new__(cls, index)
        draw.epoch = epoch
        return draw

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]  # int's is (int,)
        return int(self), self.epoch

    def __repr__(self) -> str:
        return f"SeededIndex({int(self)}, epoch={self.epoch})"


class SeededSampler(Sampler[SeededIndex]):
    """Any sampler of indices, which come out as :class:`SeededIndex`.

    The epoch is the sampler's own ``epoch`` where it has one (``DefaultSampler``). A sampler without (``InfiniteSampler``) is
    taken as one stream that goes on with each ``iter()``; its epochs are the passes over the dataset, counted over all ranks.
    All else (``set_epoch``, ``dataset``, ``shuffle``, ...) is the sampler's. ``start`` is the number of draws that the next pass
    leaves out (resuming within an epoch); the passes after it are whole.

    Args:
        sampler: Sampler, or its config.
        dataset: What it samples from; a config of a sampler gets it.
        seed: For the config of a sampler.
    """

    def __init__(self, sampler: Sampler[int] | Mapping[str, Any], dataset: Sized, seed: int | None = None) -> None:
        if isinstance(sampler, Mapping):
            sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.sampler: Any = sampler
        self.length = len(dataset)
        self.rank, self.world_size = get_dist_info()
        self.position = 0  # in this rank's stream
        self.start = 0

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch = getattr(self.sampler, "epoch", None)
        start, self.start = self.start, 0
        for index in islice(self.sampler, start, None):
            passes = (self.position * self.world_size + self.rank) // self.length
            self.position += 1
            yield SeededIndex(index, passes if epoch is None else epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def skip(self) -> Callable[[int], None]:
        """``skip(n)``: go to position ``n`` of this rank's stream. MMEngine asks whether a sampler has it, so it is there only
        where the sampler has it.
        """
        skip = self.sampler.skip

        def skip_to(num_samples: int) -> None:
            skip(num_samples)
            self.position = num_samples

        return skip_to

    def __getattr__(self, name: str) -> Any:
        return _delegated(self, "sampler", name)


class SeededDataset:
    """A map-style dataset whose random transforms depend on (seed, epoch, index) alone.

    Each sample is made with Python's, NumPy's and torch's CPU generator seeded, and their states are put back: without workers
    they are also the model's. Generators that a transform owns are not reached. All but the items is the dataset's; attributes
    that are set are set on it.

    Args:
        dataset: Dataset, or its config.
        seed: At least 0, the same in all ranks.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        # Names that no dataset has: everything public is the dataset's own, `dataset.seed` and `dataset.dataset` too.
        object.__setattr__(self, "_drawn", DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset)
        object.__setattr__(self, "_seed", seed)
        object.__setattr__(self, "_step", None)

    def set_step(self, step: Callable[[Any], None] | None) -> None:
        """Call ``step(item)`` with each finished sample, in the process that makes it; None: no step."""
        object.__setattr__(self, "_step", step)

    def __getitem__(self, draw: int) -> Any:
        """The sample of a :class:`SeededIndex`; a plain index is drawn in epoch 0."""
        epoch = draw.epoch if isinstance(draw, SeededIndex) else 0
        with seeded(self._seed, epoch, int(draw)):
            try:
                item = self._drawn[int(draw)]
            except Exception as error:
                error.add_note(f"sample {int(draw)}: {self._path(int(draw))}")  # transforms do not name the file
                raise
        # What a model draws for a sample, such as prompts, can depend on the same three numbers.
        sample = item.get("data_samples") if isinstance(item, Mapping) else None
        if isinstance(sample, BaseDataElement):
            sample.set_metainfo(dict(sample_seed=(self._seed, epoch, int(draw))))
        if self._step is not None:
            self._step(item)
        return item

    @property
    def augmentation_seed(self) -> int:
        """The seed of all samples."""
        return self._seed

    def _path(self, index: int) -> str:
        with suppress(Exception):
            return str(self._drawn.get_data_info(index)["img_path"])
        return "made by the dataset"

    def __len__(self) -> int:
        return len(self._drawn)

    def __getattr__(self, name: str) -> Any:
        return _delegated(self, "_drawn", name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._drawn, name, value)

    def __repr__(self) -> str:
        return f"SeededDataset({self._drawn!r}, seed={self._seed})"


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's CPU generator inside, and put their states back afterwards.

    Args:
        entropy: Numbers of at least 0; every one of them counts.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Python and NumPy have the same kind of generator: from the same words they would draw the same numbers.
    words = np.random.SeedSequence(entropy).generate_state(4, np.uint64).tolist()
    random.seed(words[0])
    np.random.seed([word & 0xFFFFFFFF for word in words[1:3]])
    torch.default_generator.manual_seed(words[3])  # torch.manual_seed would reach into the GPU's too
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _delegated(owner: Any, field: str, name: str) -> Any:
    # Special methods are looked up here while pickling, copying, and by DataLoader (__getitems__, which would go past the seeds).
    if name == field or name.startswith("__"):
        raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")
    return getattr(getattr(owner, field), name)
