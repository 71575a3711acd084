"""Map mask values to foreground, background and ignored pixels."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.datasets.grey_areas import grey_areas, values_of
from samplug.imaging.files import read_mask
from samplug.utils.errors import ConfigError, DataError

BACKGROUND, FOREGROUND, IGNORED = 0, 1, 255

Labels = NDArray[np.uint8]
# The name of a rule, or a mapping with the lists foreground, background and ignore.
MaskSpec = str | dict[str, Any]

_SHOWN = 8
_SMALL_LABEL = 31  # blurred or compressed edges contain brighter greys, label maps do not
_WHITE = 200  # of 255; the brightest value of a black and white mask is at least this
_ENOUGH_MASKS = 3
_HUE_MARGIN = _NEARLY_BLACK = 64
_COLOUR_HINT = (
    "for colours use mask_values='red', 'green', 'blue' or 'red/green', or list them, as in "
    "mask_values=dict(foreground=[[255, 0, 0]], background=[[0, 0, 0]]); if it is a photograph, the folders of images "
    "and masks are swapped: exchange them"
)


@dataclass(frozen=True)
class MaskValues:
    """Rule that maps mask values to labels; build it with :meth:`parse`.

    Specs:
        ``'0/255'``: values above 128 (16 bits: above 128 * 257) are foreground, so that anti-aliased edges are cut in
            the middle.
        ``'0/1'``: 1 is foreground; a value above 1 is an error.
        ``'red'``, ``'green'``, ``'blue'``, ``'red/green'``: a pixel is foreground if the named channel (the sum of two)
            is above 128 and exceeds the other channels by more than 64 (the higher of two does). Everything else is
            background, other pure colours too: they are other classes. JPEG blurs edges, so a thin line of any colour
            is accepted. An area of 7 x 7 pixels that is neither pure red, green or blue nor nearly black (white,
            yellow, grey, dark red) is an error, because its meaning is unknown.
        ``dict(foreground=[1, 2], background=[0], ignore=[255])``: exact grey values, palette indexes or colours
            ``[r, g, b]``. By default background is ``[0]`` or ``[[0, 0, 0]]`` and ignore is empty. A value that is in
            no list is an error.

    Attributes:
        spec: The spec in plain types, which can be pickled and written as JSON.
    """

    spec: str | dict[str, list[Any]]

    @classmethod
    def parse(cls, spec: "str | Mapping[str, Any] | MaskValues") -> "MaskValues":
        """Check a spec.

        Raises:
            ConfigError: The spec is not one of those above, or lists a value twice.
        """
        if isinstance(spec, MaskValues):
            return spec
        if isinstance(spec, Mapping):
            return cls(_checked_lists(spec))
        if isinstance(spec, str) and spec in _NAMED:
            return cls(spec)
        raise ConfigError(
            f"mask_values={spec!r} is not {', '.join(map(repr, _NAMED))} or dict(foreground=[...], background=[...], "
            "ignore=[...])"
        )

    def labels(self, raw: NDArray[Any], path: str | Path) -> Labels:
        """Map the values of a mask to labels.

        Args:
            raw: Mask as :func:`read_mask` returns it: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB.
            path: File of the mask, for messages.

        Returns:
            (H, W) uint8: 1 foreground, 0 background, 255 ignored.

        Raises:
            DataError: The mask contains values to which the spec gives no meaning.
        """
        return _NAMED[self.spec](raw, path) if isinstance(self.spec, str) else _by_lists(raw, path, **self.spec)


@dataclass(frozen=True)
class _Look:
    """Facts about one mask: its values, ascending, and its greys that fill areas, see :func:`grey_areas`."""

    path: Path
    values: NDArray[np.int64]
    white: int
    areas: list[int]

    @property
    def kind(self) -> str:
        highest = self.values[-1]
        if highest <= 1:
            return "0/1" if highest else "blank"
        return "0/255" if highest * 255 >= _WHITE * self.white else "labels"

    @property
    def greys(self) -> set[int]:
        """Values between black and white."""
        return set(self.values.tolist()) - {0, self.white} if self.values[-1] > 1 else set()


def decide_mask_values(paths: Sequence[Path]) -> str:
    """Decide whether masks are ``'0/1'`` or ``'0/255'``. Empty masks fit both, and count as ``'0/255'``.

    Args:
        paths: Masks to read. Unreadable files are skipped here; loading them raises an error later.

    Raises:
        DataError: The masks are of both kinds or of neither kind (colours, more than two labels, grey areas).
    """
    looks = [look for look in map(_look, paths) if look]
    seen = set().union(*(look.values.tolist() for look in looks))
    greys = set().union(*(look.greys for look in looks))
    kinds = {look.kind: look for look in reversed(looks)}  # the first of each
    # Blurred or compressed edges contain greys of all levels. One mask may have only dark ones by chance, a sample of
    # masks not.
    small = bool(greys) and max(greys) <= _SMALL_LABEL
    if small:
        kinds.setdefault("labels", next(look for look in looks if look.greys))
    if "labels" in kinds:
        labels, white = kinds["labels"], kinds.get("0/255")
        # White beside labels in one mask marks what nobody judged; in other masks it is another kind of mask.
        marked = (small or len(seen) <= _SHOWN) and any(look.greys for look in looks if look.kind == "0/255")
        raise _mixture(labels, white) if white and not marked else _labels_error(labels, seen)
    if areas := _grey_areas(looks) if "0/1" not in kinds else {}:
        raise _grey_error(areas, seen)
    if "0/1" in kinds and "0/255" in kinds:
        raise _mixture(kinds["0/1"], kinds["0/255"])
    return "0/1" if "0/1" in kinds else "0/255"


def _look(path: Path) -> _Look | None:
    try:
        raw = read_mask(path)
    except DataError:
        return None
    if raw.ndim == 3:
        raise DataError(f"data: mask {path} holds colours, mostly {_listing(raw.reshape(-1, 3))}: {_COLOUR_HINT}")
    return _Look(path, values_of(raw), int(np.iinfo(raw.dtype).max), grey_areas(raw))


def _grey_areas(looks: Sequence[_Look]) -> dict[int, Path]:
    """Return greys that are no soft edges, each with a mask that has it."""
    areas = {value: look.path for look in reversed(looks) for value in look.areas}
    lines: dict[int, list[Path]] = defaultdict(list)  # greys beside a brighter value
    for look in looks:
        for value in look.greys - {int(look.values[-1])}:
            lines[value].append(look.path)
    if len(lines) == 1:  # soft edges have many levels, a border that nobody judged has one, however thin
        areas |= {value: masks[0] for value, masks in lines.items() if len(masks) >= _ENOUGH_MASKS}
    return areas


def _mixture(dark: _Look, white: _Look) -> DataError:
    """Make the error for a mask of small values among masks of black and white."""
    what = "a 0/1 mask" if dark.kind == "0/1" else f"a mask of {_shorten(dark.values.tolist())} alone"
    return DataError(
        f"data: {dark.path} is {what} and {white.path} is not: one dataset must be of one kind; mend those that "
        "differ, or set mask_values (with on_error='skip', '0/255' leaves out the others)"
    )


def _labels_error(look: _Look, seen: set[int]) -> DataError:
    ignore = [255] if 255 in seen and seen - {0, 255} else []
    return DataError(
        f"data: mask {look.path} is neither 0/1 nor 0/255 (values of the masks looked at: {_shorten(sorted(seen))}): "
        f"give their meaning, as in mask_values=dict(foreground=[{_shorten(sorted(seen - {0, *ignore}))}], "
        f"background=[0], ignore={ignore}), or mask_values='0/255' if all above 128 is foreground"
    )


def _grey_error(areas: Mapping[int, Path], seen: set[int]) -> DataError:
    """Return the error for grey areas of unknown meaning; ``areas`` maps each grey to a mask that contains it."""
    grey, path = min(areas.items())
    remedy = "give their meaning with mask_values=dict(foreground=[...], background=[...], ignore=[...])"
    if len(seen) <= _SHOWN:
        foreground = sorted(seen - areas.keys() - {0})
        remedy = (
            f"if these pixels are unlabelled, set mask_values=dict(foreground={foreground}, background=[0], "
            f"ignore={sorted(areas)})"
        )
    return DataError(
        f"data: mask {path} holds areas of {grey}, neither black nor white (values of the masks looked at: "
        f"{_shorten(sorted(seen))}): {remedy}, or mask_values='0/255' if all above 128 is foreground"
    )


def _by_threshold(raw: NDArray[Any], path: str | Path) -> Labels:
    _check_grey(raw, path, "0/255")
    highest = int(raw.max())
    if highest == 1:
        raise DataError(f"data: mask {path} contains 0/1 in a dataset of 0/255 masks: set mask_values or fix it")
    if 0 < highest <= _SMALL_LABEL or (raw.dtype == np.uint16 and 0 < highest <= 255):
        raise DataError(
            f"data: {raw.itemsize * 8}-bit mask {path} holds {_listing(raw.ravel())} and nothing brighter in a dataset "
            "of 0/255 masks: give their meaning with mask_values=dict(foreground=[...], background=[...]), or set "
            "noise to 0"
        )
    return (raw > (128 if raw.dtype == np.uint8 else 128 * 257)).astype(np.uint8)


def _by_one(raw: NDArray[Any], path: str | Path) -> Labels:
    _check_grey(raw, path, "0/1")
    highest = int(raw.max())
    if highest > 1:
        raise DataError(
            f"data: mask {path} has values up to {highest} in a dataset of 0/1 masks: set mask_values or fix it"
        )
    return raw.astype(np.uint8, copy=False)


def _check_grey(raw: NDArray[Any], path: str | Path, rule: str) -> None:
    if raw.ndim == 3:
        raise DataError(
            f"data: mask {path} holds colours, mostly {_listing(raw.reshape(-1, 3))}, not {rule}: {_COLOUR_HINT}"
        )


def _by_hue(channels: tuple[int, ...]) -> Callable[[NDArray[Any], str | Path], Labels]:
    def labels(raw: NDArray[Any], path: str | Path) -> Labels:
        if raw.ndim == 2:
            if raw.any():
                raise DataError(
                    f"data: mask {path} holds grey values or palette indices ({_listing(raw.ravel())}), not colours: "
                    "use mask_values='0/255', '0/1' or dict(foreground=[...], background=[...])"
                )
            return np.zeros(raw.shape, np.uint8)  # all black
        planes: Any = cv2.split(raw)
        others = [plane for index, plane in enumerate(planes) if index not in channels]
        foreground = _stands_out([planes[index] for index in channels], others)
        red, green, blue = planes
        highest = cv2.max(cv2.max(red, green), blue)
        middle = cv2.max(cv2.min(red, green), cv2.min(cv2.max(red, green), blue))
        unclear = (highest > _NEARLY_BLACK) & ~_stands_out([highest], [middle])
        areas = cv2.erode(unclear.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0)
        if areas.any():
            raise DataError(
                f"data: mask {path} has areas of another colour than red, green, blue and black, mostly "
                f"{_listing(raw[areas > 0])}: list its colours, as in "
                "mask_values=dict(foreground=[[r, g, b], ...], background=[[0, 0, 0]], ignore=[]), or fix it"
            )
        return foreground.astype(np.uint8)

    return labels


def _stands_out(channels: Sequence[Any], others: Sequence[Any]) -> NDArray[np.bool_]:
    total = np.add.reduce(channels, dtype=np.uint16)  # an edge between two named colours has half of each
    margin = cv2.subtract(np.maximum.reduce(channels), np.maximum.reduce(others))  # saturating
    return (total > 128) & (margin > _HUE_MARGIN)


_NAMED: dict[str, Callable[[NDArray[Any], str | Path], Labels]] = {
    "0/255": _by_threshold,
    "0/1": _by_one,
    "red": _by_hue((0,)),
    "green": _by_hue((1,)),
    "blue": _by_hue((2,)),
    "red/green": _by_hue((0, 1)),
}


def _by_lists(raw: NDArray[Any], path: str | Path, foreground: list, background: list, ignore: list) -> Labels:
    colours = isinstance(foreground[0], list)
    if raw.ndim == 3 and not colours:
        raise DataError(
            f"data: mask {path} holds colours, mostly {_listing(raw.reshape(-1, 3))}, not grey values: {_COLOUR_HINT}"
        )
    codes = _codes(raw) if colours else raw
    labels = np.zeros(raw.shape[:2], np.uint8)
    unlisted = np.ones(raw.shape[:2], bool)
    for label, listed in ((BACKGROUND, background), (FOREGROUND, foreground), (IGNORED, ignore)):
        for value in listed:
            here = codes == (_code(value) if colours else value)
            labels[here] = label
            unlisted &= ~here
    if unlisted.any():
        raise DataError(
            f"data: mask {path} contains {_listing(raw[unlisted])} which mask_values does not list: add it to "
            "foreground, background or ignore"
        )
    return labels


def _checked_lists(spec: Mapping[str, Any]) -> dict[str, list[Any]]:
    lists = all(isinstance(values, list | tuple) for values in spec.values())
    if not lists or set(spec) - {"foreground", "background", "ignore"} or not spec.get("foreground"):
        raise ConfigError(
            f"mask_values={dict(spec)}: give foreground=[...] and, if needed, background=[...], ignore=[...]"
        )
    colours = isinstance(spec["foreground"][0], list | tuple)
    checked = {
        "foreground": [_checked(value, colours) for value in spec["foreground"]],
        "background": [_checked(value, colours) for value in spec.get("background", [[0, 0, 0] if colours else 0])],
        "ignore": [_checked(value, colours) for value in spec.get("ignore", [])],
    }
    for one, next_one in pairwise(sorted(chain(*checked.values()))):
        if one == next_one:
            raise ConfigError(f"mask_values lists {one} twice")
    return checked


def _checked(value: Any, colour: bool) -> Any:
    numbers, count, highest = (value, 3, 255) if colour else ([value], 1, 65535)
    fits = isinstance(numbers, list | tuple) and len(numbers) == count
    if fits and all(type(number) is int and 0 <= number <= highest for number in numbers):
        return list(numbers) if colour else value
    wanted = "a colour [r, g, b] of 0..255" if colour else "a whole number of 0..65535"
    raise ConfigError(f"mask_values: {value!r} is not {wanted}; all values are greys or all are colours")


def _code(colour: Sequence[int]) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def _codes(raw: NDArray[Any]) -> NDArray[np.int64]:
    """Encode each colour of (H, W, 3) as a number; a value v of (H, W) counts as the colour [v, v, v]."""
    planes = raw.astype(np.int64)
    red, green, blue = np.moveaxis(planes, -1, 0) if raw.ndim == 3 else (planes, planes, planes)
    return (red << 16) | (green << 8) | blue


def _listing(pixels: NDArray[Any]) -> str:
    """List the most frequent values (N,) or colours (N, 3) with their counts."""
    coloured = pixels.ndim == 2
    values, counts = np.unique(_codes(pixels[None]) if coloured else pixels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: _SHOWN + 1]
    names = [[v >> 16, v >> 8 & 255, v & 255] if coloured else v for v in values[order].tolist()]
    return _shorten([f"{name} ({count:,} pixels)" for name, count in zip(names, counts[order], strict=True)])


def _shorten(values: Sequence[Any]) -> str:
    return f"{', '.join(map(str, values[:_SHOWN]))}{', ...' if len(values) > _SHOWN else ''}"
