"""Outlines of very many points, and numbers that no annotator writes."""

import base64

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samplug.imaging import long_outlines
from samplug.imaging.encodings import image_from_base64
from samplug.imaging.limits import VARIABLE
from samplug.imaging.shapes import LabelmeMask, LabelmeShape, Polygons, RunLengths, segmentation_shape
from samplug.utils.rle import decode_rle
from tests.imaging import bombs

HUGE = 10**400


def by_coco(points, size):
    return coco_mask.decode(coco_mask.frPyObjects([points.ravel().tolist()], *size))[..., 0].astype(bool)


@pytest.mark.parametrize("grid", [0, 1, 2, 5], ids="1/{}".format)
def test_long_outlines_are_drawn_as_coco_draws_them(grid):
    rng = np.random.default_rng(grid)
    for size in rng.integers(1, 50, (150, 2)).tolist():
        number, margin = int(rng.integers(3, 50)), 0.1 * max(size)
        points = rng.uniform(-margin, [size[1] + margin, size[0] + margin], (number, 2))
        points = np.round(points * grid) / grid if grid else points
        np.testing.assert_array_equal(long_outlines.fill(points, tuple(size)), by_coco(points, size))


def test_an_object_of_long_and_short_outlines():
    rng = np.random.default_rng(0)
    size = (40, 56)
    long = rng.uniform(0, [56, 40], (3000, 2))
    short = np.array([[1, 1], [9, 2], [4, 30]], float)
    shape = Polygons([short.ravel().tolist(), long.ravel().tolist()])
    wanted = by_coco(long, size) | by_coco(short, size)
    assert shape.problem(size) is None
    np.testing.assert_array_equal(shape.raster(size), wanted)
    np.testing.assert_array_equal(decode_rle(shape.rle(size)), wanted)


def test_the_work_grows_with_the_sides_and_not_faster(monkeypatch):
    """Twice the points cross twice the columns; the work is linear, without sorting."""
    columns = []
    inner = long_outlines._columns

    def counted(*arguments):
        for side, column in inner(*arguments):
            columns[-1] += len(column)
            yield side, column

    monkeypatch.setattr(long_outlines, "_columns", counted)
    for number in (5_000, 10_000):
        columns.append(0)
        points = np.random.default_rng(0).uniform(0, [56, 40], (number, 2))
        Polygons([points.ravel().tolist()]).rle((40, 56))
    assert columns[1] == pytest.approx(2 * columns[0], rel=0.02)


def test_labelme_outlines_that_cross_the_image_again_and_again():
    points = np.random.default_rng(0).uniform(0, [56, 40], (60_000, 2))
    assert "too long for an object" in LabelmeShape("polygon", points.tolist()).problem((40, 56))
    turns = np.linspace(0, 2 * np.pi, 60_000)
    ring = np.column_stack([28 + 15 * np.cos(turns), 20 + 12 * np.sin(turns)])
    shape = LabelmeShape("polygon", ring.tolist())
    assert shape.problem((40, 56)) is None
    assert shape.raster((40, 56)).sum() == pytest.approx(np.pi * 15 * 12, rel=0.15)


@pytest.mark.parametrize("value", [HUGE, -HUGE, float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize(
    "shape",
    [
        lambda value: Polygons([[value, 1, 2, 3, 4, 5]]),
        lambda value: Polygons([[value, 0.1, 0.2, 0.3, 0.4, 0.5]], normalised=True),
        lambda value: LabelmeShape("polygon", [[1, 1], [5, 5], [value, 3]]),
        lambda value: LabelmeShape("circle", [[1, 1], [5, value]]),
        lambda value: LabelmeMask("AAAA", [[value, 1], [5, 5]]),
        lambda value: RunLengths([value, 1], [10, 10]),
        lambda value: RunLengths([50, 50], [value, 10]),
    ],
)
def test_numbers_that_no_image_has_are_problems(shape, value):
    problem = shape(value).problem((10, 10))
    assert problem
    assert len(problem) < 200


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "\udce9\n", "é" * 9999])
def test_odd_texts_are_problems(text):
    for shape in (RunLengths(text, [10, 10]), LabelmeMask(text, [[1, 1], [5, 5]]), LabelmeShape(text, [[1, 1]])):
        problem = shape.problem((10, 10))
        assert problem
        assert len(problem) < 200


def test_nested_lists_are_shown_in_part():
    deep = []
    for _ in range(500):
        deep = [deep]
    for segmentation in (deep, [deep], [[deep] * 6], {"counts": deep, "size": deep}):
        assert len(segmentation_shape(segmentation).problem((10, 10))) < 200


def test_embedded_pictures_have_the_limits_of_files(monkeypatch):
    def encoded(content):
        return base64.b64encode(content).decode()

    small = cv2.imencode(".png", np.full((3, 4), 7, np.uint8))[1].tobytes()
    np.testing.assert_array_equal(image_from_base64(encoded(small), cv2.IMREAD_GRAYSCALE), np.full((3, 4), 7))
    assert image_from_base64(encoded(small), cv2.IMREAD_COLOR).shape == (3, 4, 3)
    assert image_from_base64(encoded(bombs.png(14_000, 14_000, rows=bytes(200))), cv2.IMREAD_COLOR) is None
    assert image_from_base64(encoded(small[:-20]), cv2.IMREAD_COLOR) is None
    monkeypatch.setenv(VARIABLE, "11")
    assert image_from_base64(encoded(small), cv2.IMREAD_COLOR) is None
