"""Shapes that annotators draw; each is rasterised by the rule of its format.

A shape stores the unchecked content of the file. ``problem(size)`` returns what is wrong with it in an image of that
size, or None; ``raster(size)`` draws a shape without a problem. Sizes are (height, width) in pixels; points are (x, y),
x to the right and y down, with (0, 0) at the upper left corner of the image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from samplug.imaging import long_outlines
from samplug.imaging.encodings import image_from_base64, runs_from_string
from samplug.utils.rle import RLE, as_text, encode_rle, from_runs
from samplug.utils.text import shorten

Size = tuple[int, int]

# Tools allow points slightly outside. A point further out than this share of the longer side belongs to another image.
_OUTSIDE = 0.1
# Tolerance for rounded decimals of normalised coordinates.
_ROUNDING = 0.001
# Number of points above which pycocotools and Pillow, which sort crossings, are slow.
_MANY_POINTS = 2000
# Longest outline that Pillow draws, in pixels per pixel of the image.
_LONGEST_OUTLINE = 64


class RegionShape(Protocol):
    """Shape of a region."""

    def problem(self, size: Size) -> str | None:
        """Return why the shape cannot be drawn in an image of this size, in words that follow a name, or None."""

    def raster(self, size: Size) -> NDArray[np.bool_]:
        """Draw a shape without a problem: (H, W) bool, True inside."""


@dataclass(frozen=True)
class Polygons:
    """Polygons of one object, drawn as COCO's API draws them; the object is their union.

    Args:
        parts: A flat list x1, y1, x2, y2, ... for each polygon.
        normalised: True if coordinates are shares of width and height in [0, 1], False if they are pixels.
    """

    parts: Sequence[Sequence[float]]
    normalised: bool = False

    def problem(self, size: Size) -> str | None:
        if not self.parts:
            return "has an empty segmentation"
        for part in self.parts:
            if not is_numbers(part):
                return f"has coordinates that are not a list of numbers ({shorten(part)})"
            if len(part) % 2:
                return f"has an odd number of coordinates ({len(part)})"
            if len(part) == 4:
                return "has 4 numbers for an outline: a box or a line, not a mask"
            if len(part) < 6:
                return f"has an outline of {len(part) // 2} points: it needs 3"
            if self.normalised:
                values = _floats(part)
                outside = values[~((values >= -_ROUNDING) & (values <= 1 + _ROUNDING))]  # NaN too
                if outside.size:
                    return f"has the coordinate {outside[0]:g}: normalised coordinates are from 0 to 1"
            if found := _stray_point(self._pixels(part, size), size):
                return found
        return None

    def raster(self, size: Size) -> NDArray[np.bool_]:
        outlines = [self._pixels(part, size) for part in self.parts]
        short = [points.ravel().tolist() for points in outlines if len(points) < _MANY_POINTS]
        masks = [long_outlines.fill(points, size) for points in outlines if len(points) >= _MANY_POINTS]
        if short:
            masks.append(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(short, *size))).astype(bool))
        return reduce(np.logical_or, masks)

    def rle(self, size: Size) -> RLE:
        """Draw the shape as run lengths."""
        if any(len(part) >= 2 * _MANY_POINTS for part in self.parts):
            return encode_rle(self.raster(size))
        parts = [self._pixels(part, size).ravel().tolist() for part in self.parts]
        return as_text(coco_mask.merge(coco_mask.frPyObjects(parts, *size)))

    def _pixels(self, part: Sequence[float], size: Size) -> NDArray[np.float64]:
        height, width = size
        points = _floats(part).reshape(-1, 2)
        return points * (width, height) if self.normalised else points


@dataclass(frozen=True)
class RunLengths:
    """COCO's run-length code: lengths of runs outside, inside, outside, ... down the columns, from left to right.

    Args:
        counts: List of lengths, or COCO's compressed string of them.
        stated_size: Value of ``size`` in the file: height and width.
    """

    counts: Any
    stated_size: Any

    def problem(self, size: Size) -> str | None:
        if not (isinstance(self.stated_size, list) and self.stated_size == list(size)):
            return (
                f"has run lengths for a size (height, width) of {shorten(self.stated_size)}, the image has {list(size)}"
            )
        try:
            runs = self._runs()
        except ValueError as error:
            return f"has run lengths that cannot be read: {error}"
        if not all(isinstance(run, int) and run >= 0 for run in runs):
            return "has run lengths that are not integers of at least 0"
        if sum(runs) != size[0] * size[1]:
            return f"has run lengths for {shorten(sum(runs))} pixels, the image has {size[0] * size[1]}"
        return None

    def raster(self, size: Size) -> NDArray[np.bool_]:
        runs = self._runs()
        inside = np.arange(len(runs)) % 2 == 1
        return np.repeat(inside, runs).reshape(size, order="F")

    def rle(self, size: Size) -> RLE:
        """Return the mask as compressed run lengths."""
        if isinstance(self.counts, str):
            return {"size": list(size), "counts": self.counts}
        return from_runs(self.counts, size)

    def _runs(self) -> list[int]:
        if isinstance(self.counts, str):
            return runs_from_string(self.counts)
        if isinstance(self.counts, list):
            return self.counts
        raise ValueError(f"counts is {shorten(self.counts)}, neither a list nor a string")


@dataclass(frozen=True)
class LabelmeShape:
    """A polygon, rectangle or circle, drawn with Pillow as labelme does, outline included.

    Args:
        kind: labelme's ``shape_type``.
        points: Points [x, y] in pixels: opposite corners of a rectangle; centre and a point on a circle.
    """

    kind: str
    points: Any

    def problem(self, size: Size) -> str | None:
        if self.kind not in ("polygon", "rectangle", "circle"):
            return f"is a {shorten(self.kind)}: only polygon, rectangle, circle and mask cover an area"
        if found := points_problem(self.points, size):
            return found
        if self.kind == "polygon" and len(self.points) < 3:
            return f"is a polygon of {len(self.points)} points: it needs 3"
        if self.kind != "polygon" and len(self.points) != 2:
            return f"is a {self.kind} of {len(self.points)} points: it needs 2"
        if len(self.points) >= _MANY_POINTS:
            # Pillow sorts all sides that cross a row, which is too slow for outlines longer than real objects have.
            sides = np.diff(_floats(self.points), axis=0)
            length = float(np.hypot(*sides.T).sum())
            if length > _LONGEST_OUTLINE * size[0] * size[1]:
                return (
                    f"is an outline of {length:,.0f} pixels in an image of {size[0] * size[1]:,}: too long for "
                    "an object"
                )
        return None

    def raster(self, size: Size) -> NDArray[np.bool_]:
        canvas = Image.new("L", (size[1], size[0]))
        draw = ImageDraw.Draw(canvas)
        points = [(x, y) for x, y in self.points]
        if self.kind == "polygon":
            draw.polygon(points, fill=1, outline=1)
        elif self.kind == "rectangle":
            (left, right), (top, bottom) = (sorted(axis) for axis in zip(*points, strict=True))
            draw.rectangle([left, top, right, bottom], fill=1, outline=1)
        else:
            (x, y), rim = points
            radius = math.dist((x, y), rim)
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1, outline=1)
        return np.asarray(canvas, bool)


@dataclass(frozen=True)
class LabelmeMask:
    """A bitmap in a box of the image: labelme's shape ``mask``.

    Args:
        bitmap: Image file in base64; pixels that are not 0 are inside.
        points: [x, y] of the first and the last pixel of the box, both inclusive; fractions are truncated.
    """

    bitmap: Any
    points: Any

    def problem(self, size: Size) -> str | None:
        if found := points_problem(self.points, size):
            return found
        if len(self.points) != 2:
            return f"is a mask with {len(self.points)} points: it needs the 2 corners of its box"
        picture = image_from_base64(self.bitmap, cv2.IMREAD_GRAYSCALE)
        if picture is None:
            return "is a mask whose bitmap is not an image in base64"
        left, top, right, bottom = self._box()
        if picture.shape != (bottom - top, right - left):
            return (
                f"is a mask of {picture.shape[1]}x{picture.shape[0]} pixels in a box of {right - left}x{bottom - top}"
            )
        if left < 0 or top < 0 or right > size[1] or bottom > size[0]:
            return f"is a mask in the box {left},{top} to {right - 1},{bottom - 1}, not inside the image"
        return None

    def raster(self, size: Size) -> NDArray[np.bool_]:
        left, top, right, bottom = self._box()
        inside = np.zeros(size, bool)
        picture = image_from_base64(self.bitmap, cv2.IMREAD_GRAYSCALE)
        assert picture is not None  # checked by problem()
        inside[top:bottom, left:right] = picture > 0
        return inside

    def _box(self) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom; right and bottom exclusive."""
        (left, top), (right, bottom) = self.points
        return int(left), int(top), int(right) + 1, int(bottom) + 1


@dataclass(frozen=True)
class ShapeUnion:
    """One object drawn as several shapes; it is their union."""

    shapes: Sequence[RegionShape]

    def problem(self, size: Size) -> str | None:
        return next((found for shape in self.shapes if (found := shape.problem(size))), None)

    def raster(self, size: Size) -> NDArray[np.bool_]:
        return np.logical_or.reduce([shape.raster(size) for shape in self.shapes])


def segmentation_shape(segmentation: Any) -> Polygons | RunLengths:
    """Parse the ``segmentation`` of an annotation in COCO's format; the shape may have problems."""
    if isinstance(segmentation, dict):
        return RunLengths(segmentation.get("counts"), segmentation.get("size"))
    return Polygons(segmentation if isinstance(segmentation, list) else [])


def points_problem(points: Any, size: Size) -> str | None:
    """Return the problem of a list of [x, y] in an image of this size; None if there is none."""
    if not (isinstance(points, list) and all(is_numbers(point) and len(point) == 2 for point in points)):
        return f"has points that are not a list of [x, y] ({shorten(points)})"
    return _stray_point(_floats(points).reshape(-1, 2), size)


def is_numbers(values: Any) -> bool:
    """Return True for a list of numbers; NaN and infinity count as numbers."""
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _floats(values: Any) -> NDArray[np.float64]:
    """Convert checked numbers to floats; whole numbers beyond the range of floats become infinite."""
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return np.array(values, object).astype(str).astype(np.float64)


def _stray_point(points: NDArray[np.float64], size: Size) -> str | None:
    height, width = size
    margin = _OUTSIDE * max(size)
    fine = ((points >= -margin) & (points <= np.array([width, height]) + margin)).all(axis=1)  # NaN compares as False
    if fine.all():
        return None
    x, y = points[~fine][0]
    return f"has the point x={x:g}, y={y:g}, far outside the image of {width}x{height} (width x height)"
