"""Make random augmentation a function of (seed, epoch, sample), independent of workers, batches and ranks.

The random state of a worker depends on the number of workers and on the samples it has loaded before. Here the sampler
yields each index together with its epoch, and the dataset seeds the generators from seed, epoch and index for each
sample.
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
    """Index of a sample with the epoch in which it is used.

    It is an ``int`` with the attribute ``epoch``, so batch samplers that use the index (mmdet's
    ``AspectRatioBatchSampler``) work unchanged. Equal indexes compare equal, whatever their epochs.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int) -> "SeededIndex":
        seeded_index = super().__new__(cls, index)
        seeded_index.epoch = epoch
        return seeded_index

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]  # int's is (int,)
        return int(self), self.epoch

    def __repr__(self) -> str:
        return f"SeededIndex({int(self)}, epoch={self.epoch})"


class SeededSampler(Sampler[SeededIndex]):
    """Wrapper of any sampler that yields its indexes as :class:`SeededIndex`.

    The epoch is the ``epoch`` of the sampler if it has one (``DefaultSampler``). A sampler without one
    (``InfiniteSampler``) is one stream that continues with each ``iter()``; its epochs are the passes over the dataset,
    counted over all ranks. All other attributes (``set_epoch``, ``dataset``, ``shuffle``, ...) are those of the
    sampler. ``start`` is the number of indexes that the next pass leaves out (to resume within an epoch); later passes
    are complete.

    Args:
        sampler: Sampler, or its config.
        dataset: Dataset to sample from; passed to the sampler if that is a config.
        seed: Seed of the sampler, passed to it if it is a config.
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
        """Function ``skip(n)`` that moves to position ``n`` of this rank's stream.

        The attribute exists only if the sampler has it, because MMEngine checks for it.
        """
        skip = self.sampler.skip

        def skip_to(num_samples: int) -> None:
            skip(num_samples)
            self.position = num_samples

        return skip_to

    def __getattr__(self, name: str) -> Any:
        return _delegated(self, "sampler", name)


class SeededDataset:
    """Wrapper of a map-style dataset whose random transforms then depend only on (seed, epoch, index).

    Python's, NumPy's and torch's CPU generators are seeded for each sample and their states restored afterwards:
    without workers the model uses the same generators. Generators that a transform owns are not affected. All
    attributes are read from, and set on, the wrapped dataset.

    Args:
        dataset: Dataset, or its config.
        seed: Seed of at least 0, the same in all ranks.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        # Private names: public attributes, such as `dataset.seed` and `dataset.dataset`, belong to the wrapped dataset.
        object.__setattr__(self, "_drawn", DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset)
        object.__setattr__(self, "_seed", seed)
        object.__setattr__(self, "_step", None)

    def set_step(self, step: Callable[[Any], None] | None) -> None:
        """Call ``step(item)`` with each finished sample, in the process that makes it; None: no step."""
        object.__setattr__(self, "_step", step)

    def __getitem__(self, index: int) -> Any:
        """Load the sample of a :class:`SeededIndex`; a plain index belongs to epoch 0."""
        return self._load(index)[0]

    def with_randomness(self, index: int) -> tuple[Any, bool]:
        """Load a sample; also return True if it drew a random number from one of the seeded generators."""
        return self._load(index, ask=True)

    def _load(self, index: int, ask: bool = False) -> tuple[Any, bool]:
        epoch = index.epoch if isinstance(index, SeededIndex) else 0
        index = int(index)
        with seeded(self._seed, epoch, index) as drew:
            try:
                item = self._drawn[index]
            except Exception as error:
                error.add_note(f"sample {index}: {self._path(index)}")  # transforms do not name the file
                raise
            random_numbers = ask and drew()
        # Random choices of the model for a sample, such as prompts, can depend on the same three numbers.
        sample = item.get("data_samples") if isinstance(item, Mapping) else None
        if isinstance(sample, BaseDataElement):
            sample.set_metainfo(dict(sample_seed=(self._seed, epoch, index)))
        if self._step is not None:
            self._step(item)
        return item, random_numbers

    @property
    def augmentation_seed(self) -> int:
        """Seed that all samples share."""
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
def seeded(*entropy: int) -> Iterator[Callable[[], bool]]:
    """Seed Python's, NumPy's and torch's CPU generators within the block, and restore their states afterwards.

    Args:
        entropy: Integers of at least 0; the seeds depend on each of them.

    Yields:
        Function that returns True if the block has drawn from one of them. It seeds them again.
    """
    states = _states()
    # Python and NumPy use the same kind of generator: from equal words they would produce equal numbers.
    words = np.random.SeedSequence(entropy).generate_state(4, np.uint64).tolist()
    _seed(words)
    try:
        yield lambda: _moved(words)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed(words: list[int]) -> None:
    random.seed(words[0])
    np.random.seed([word & 0xFFFFFFFF for word in words[1:3]])
    torch.default_generator.manual_seed(words[3])  # torch.manual_seed would seed the GPUs' too


def _states() -> tuple[Any, Any, torch.Tensor]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _moved(words: list[int]) -> bool:
    """Return True if the generators are no more as these words seed them."""
    now = _states()
    _seed(words)
    then = _states()
    same = (*zip(now[0], then[0], strict=True), *zip(now[1], then[1], strict=True), (now[2], then[2]))
    return not all(np.array_equal(one, other) for one, other in same)


def _delegated(owner: Any, field: str, name: str) -> Any:
    # Do not delegate special methods: pickling and copying look them up, and DataLoader asks for __getitems__, which
    # would load samples without seeding.
    if name == field or name.startswith("__"):
        raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")
    return getattr(getattr(owner, field), name)
