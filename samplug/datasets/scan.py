"""Check images and binary masks before the run: find broken files and suspicious masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplug.datasets.grey_areas import grey_areas
from samplug.datasets.mask_values import MaskSpec
from samplug.datasets.pairing import Pair
from samplug.datasets.scan_cache import SAMPLED, examine_files
from samplug.datasets.transforms.loading import SizeMismatch, labels_from_mask
from samplug.imaging.files import read_image, read_mask
from samplug.utils.errors import DataError
from samplug.utils.text import printable

_TINY = 1e-4
_NEARLY_ALL = 0.95
_MOSTLY_GREY = 0.2


@dataclass(frozen=True)
class PairFacts:
    """Facts about one pair of image and mask.

    Attributes:
        width: Width of the image in pixels, after EXIF rotation.
        height: Height of the image in pixels, after EXIF rotation.
        foreground: Share of foreground among the pixels that are not ignored, in [0, 1].
        ignored: Share of ignored pixels, in [0, 1].
        grey: Share of pixels far from black and white, in black and white masks.
        grey_areas: True if a black and white mask has grey areas, see :func:`~samplug.datasets.grey_areas.grey_areas`.
        error: Reason why the pair cannot be used; None if it can.
    """

    width: int = 0
    height: int = 0
    foreground: float = 0.0
    ignored: float = 0.0
    grey: float = 0.0
    grey_areas: bool = False
    error: str | None = None

    @property
    def suspicion(self) -> str | None:
        """Reason to look at the mask; None if it is unsuspicious."""
        if self.error:
            return None
        if self.ignored == 1:
            return "all ignored"
        if self.grey > _MOSTLY_GREY:
            return "mostly grey, like photographs and probability maps"
        if self.grey_areas:
            return "with grey areas, thresholded at 128"
        if self.foreground == 0:
            return "empty"
        if self.foreground < _TINY:
            return f"foreground under {_TINY:.2%}"
        return f"foreground over {_NEARLY_ALL:.0%}" if self.foreground > _NEARLY_ALL else None


def examine_pair(pair: Pair, spec: MaskSpec, size_mismatch: SizeMismatch) -> PairFacts:
    """Read both files of a pair and return its facts."""
    try:
        height, width = read_image(pair.image).shape[:2]
        raw = read_mask(pair.mask)
        labels = labels_from_mask(raw, pair.mask, (height, width), pair.image, spec, size_mismatch)
        grey, areas = (_share_of_grey(raw), bool(grey_areas(raw))) if spec == "0/255" else (0.0, False)
    except DataError as error:
        return PairFacts(error=str(error).removeprefix("data: "))
    known = int(np.count_nonzero(labels != 255))
    foreground = int(np.count_nonzero(labels == 1))
    return PairFacts(width, height, foreground / known if known else 0.0, 1 - known / labels.size, grey, areas)


def _share_of_grey(raw: NDArray[Any]) -> float:
    """Compute the share of pixels in the middle three quarters of the range."""
    white = np.iinfo(raw.dtype).max
    return float(np.mean((raw > white // 8) & (raw < white - white // 8)))


def scan_pairs(
    pairs: Sequence[Pair], spec: MaskSpec, size_mismatch: SizeMismatch, sample: int | None = SAMPLED
) -> dict[str, PairFacts]:
    """Read pairs and return their facts by name.

    Args:
        pairs: All pairs of the dataset.
        spec: Meaning of the mask values.
        size_mismatch: See ``LoadBinaryMask``.
        sample: Number of pairs to read, a seeded random sample; None reads all.
    """
    return examine_files(
        pairs, lambda pair: examine_pair(pair, spec, size_mismatch), PairFacts, [spec, size_mismatch], sample
    )


def describe_pairs(facts: Mapping[str, PairFacts]) -> str:
    """Describe the valid pairs in one line: sizes, share of foreground, suspicious masks."""
    valid = {name: fact for name, fact in facts.items() if not fact.error}
    if not valid:
        return "no valid pair"
    sizes = describe_sizes(valid.values())
    shares = [fact.foreground for fact in valid.values()]
    text = f"{sizes}, foreground {np.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
    if ignored := np.mean([fact.ignored for fact in valid.values()]):
        text += f", ignored {ignored:.1%}"
    for suspicion, names in by_suspicion(valid).items():
        shown = f"{', '.join(map(printable, names[:3]))}{', ...' if len(names) > 3 else ''}"
        text += f"; {len(names)} of the masks {suspicion} ({shown})"
    return text


def describe_sizes(facts: Iterable[Any]) -> str:
    """Describe the smallest and the largest image of facts with ``width`` and ``height``, at least one."""
    ordered = sorted(((fact.width, fact.height) for fact in facts), key=lambda size: size[0] * size[1])
    smallest, largest = ("x".join(map(str, size)) for size in (ordered[0], ordered[-1]))
    return smallest if smallest == largest else f"{smallest} to {largest}"


def by_suspicion(facts: Mapping[str, PairFacts]) -> dict[str, list[str]]:
    """Group the names of suspicious pairs by the reason."""
    groups: dict[str, list[str]] = {}
    for name, fact in sorted(facts.items()):
        if fact.suspicion:
            groups.setdefault(fact.suspicion, []).append(name)
    return groups
