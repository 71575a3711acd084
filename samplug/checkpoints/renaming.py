"""Parts of the tables that rename entries of weight files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Place of an entry that holds some rows of one of samplug's: part ``index`` of ``count`` equal parts.

    Attributes:
        name: samplug's key.
        index: Number of the part, from 0.
        count: Number of the parts, which are concatenated.
    """

    name: str
    index: int
    count: int


@dataclass(frozen=True)
class Transposed:
    """Place of a matrix that the file holds transposed, under samplug's key ``name``."""

    name: str


# One key, one key for each row of the tensor (none: the entry is not used), rows of a key, or a key of the transpose.
Place = str | tuple[str, ...] | Rows | Transposed


def substituted(key: str, names: Iterable[tuple[str, str]]) -> str:
    """Apply the first of the (pattern, replacement) pairs that matches a key; a key without a match is returned."""
    for pattern, replacement in names:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key
