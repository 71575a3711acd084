"""A split by the hash of names: the same on every machine, and stable when files are added."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from samplug.utils.errors import ConfigError

Part = Literal["train", "val", "test"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Split:
    """One part of a set, or the whole.

    Args:
        part: None: everything.
        val_fraction: Expected share of the ``'val'`` part.
        test_fraction: Expected share of the ``'test'`` part.

    Raises:
        ConfigError: An unknown part, or fractions or their sum not between 0 and 1.
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
                f"data: val_fraction={val!r} and test_fraction={test!r} must be between 0 and 1, and so their sum"
            )

    def select(self, items: Sequence[_T], name: Callable[[_T], str]) -> list[_T]:
        """The items of the part, in their order; those of one name are in one part."""
        return [item for item in items if self.part is None or self.part_of(name(item)) == self.part]

    def part_of(self, name: str) -> Part:
        """Where a name belongs."""
        place = _unit_hash(name)
        if place < self.val_fraction:
            return "val"
        return "test" if place >= 1 - self.test_fraction else "train"


def _unit_hash(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2.0**64
