"""Split a dataset by the hash of names: the same on every machine, and stable when files are added."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from samplug.utils.errors import ConfigError

Part = Literal["train", "val", "test"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Split:
    """Selection of one part of a dataset, or of all of it.

    Args:
        part: ``'train'``, ``'val'`` or ``'test'``; None selects everything.
        val_fraction: Expected share of the ``'val'`` part.
        test_fraction: Expected share of the ``'test'`` part.

    Raises:
        ConfigError: The part is unknown, or a fraction or the sum of both is not between 0 and 1.
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
        return [item for item in items if self.part is None or self.part_of(name(item)) == self.part]

    def part_of(self, name: str) -> Part:
        """Return the part of a name."""
        place = _unit_hash(name)
        if place < self.val_fraction:
            return "val"
        return "test" if place >= 1 - self.test_fraction else "train"


def _unit_hash(name: str) -> float:
    """Map a name to a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]) / 2.0**64
