"""Split a dataset by hashes of names: the same on every machine, and nearly unchanged when files are added."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from samplug.utils.errors import ConfigError

Part = Literal["train", "val", "test"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Split:
    """Selection of one part of a dataset, or of the whole dataset.

    Names are ranked by their hash: the first ``round(val_fraction * n)`` of n names are ``'val'``, the last
    ``round(test_fraction * n)`` are ``'test'``, all others ``'train'``. Each part gets at least one name if there are
    enough, in the order ``'train'``, ``'val'``, ``'test'``. The parts depend only on the names. Each added name moves
    at most one other name between ``'train'`` and ``'val'``, and one between ``'train'`` and ``'test'``.

    Args:
        part: ``'train'``, ``'val'`` or ``'test'``; None selects all names.
        val_fraction: Share of names in the ``'val'`` part.
        test_fraction: Share of names in the ``'test'`` part.

    Raises:
        ConfigError: ``part`` is unknown, or a fraction or the sum of both is not between 0 and 1.
    """

    part: Part | None = None
    val_fraction: float = 0.2
    test_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.part not in (None, "train", "val", "test"):
            raise ConfigError(f"data: part={self.part!r} is not one of None, 'train', 'val', 'test'")
        val, test = self.val_fraction, self.test_fraction
        if not (0 < val < 1 and 0 <= test < 1 and val + test < 1):
            raise ConfigError(
                f"data: val_fraction={val!r} and test_fraction={test!r} and their sum must be between 0 and 1"
            )

    def select(self, items: Sequence[_T], name: Callable[[_T], str]) -> list[_T]:
        """Select the items of the part in their order; items of one name are in the same part."""
        if self.part is None:
            return list(items)
        parts = self.parts(map(name, items))
        return [item for item in items if parts[name(item)] == self.part]

    def parts(self, names: Iterable[str]) -> dict[str, Part]:
        """Return name -> part for the names of a dataset; repeated names count once."""
        ranked = sorted(set(names), key=lambda name: (_digest(name), name))
        val, test = self._sizes(len(ranked))
        first_of_test = len(ranked) - test
        return {
            name: "val" if rank < val else "test" if rank >= first_of_test else "train"
            for rank, name in enumerate(ranked)
        }

    def _sizes(self, number: int) -> tuple[int, int]:
        """Return the numbers of names in ``'val'`` and ``'test'``; at least one name remains for ``'train'``."""
        val = max(1, round(self.val_fraction * number))
        test = max(1, round(self.test_fraction * number)) if self.test_fraction else 0
        while val + test >= max(1, number):
            val, test = (val, test - 1) if test >= val else (val - 1, test)
        return val, test


def _digest(name: str) -> bytes:
    # File names may contain bytes that are not UTF-8.
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()
