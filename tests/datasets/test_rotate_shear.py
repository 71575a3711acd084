"""RandomRotateShear against PIL, and what it does to the truth."""

import math

import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from PIL import Image

from samplug.datasets.transforms.geometry import rotation_and_shear
from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError

SIZE = (90, 130)


def build(**kwargs):
    return TRANSFORMS.build(dict(type="RandomRotateShear", **kwargs))


def by_pil(image, angle, shear, resample, fill):
    """torchvision's formula of the inverse map, on PIL's coordinates (pixel centres at halves)."""
    height, width = image.shape[:2]
    a, b = math.cos(angle), -math.cos(angle) * math.tan(shear) - math.sin(angle)
    c, d = math.sin(angle), -math.sin(angle) * math.tan(shear) + math.cos(angle)
    x, y = width / 2, height / 2
    inverse = [d, -b, -d * x + b * y + x, -c, a, c * x - a * y + y]
    return np.asarray(
        Image.fromarray(image).transform((width, height), Image.Transform.AFFINE, inverse, resample, fillcolor=fill)
    )


@pytest.mark.parametrize(("angle", "shear"), [(0.4, 0.3), (-0.3, 0.2), (0.2, -0.35), (0.0, 0.3), (1.5, 0.0)])
def test_is_pils(angle, shear, monkeypatch):
    transform = build(fill=(10, 200, 30))
    monkeypatch.setattr(transform, "_random_angles", lambda: [(angle, shear)])
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.stack([x, 2 * y, 120 + 60 * np.sin(x / 9) * np.cos(y / 7)], axis=2).astype(np.uint8)
    mask = ((x - 70) ** 2 + 3 * (y - 40) ** 2 < 900).astype(np.uint8)
    moved = transform(dict(img=image, gt_seg_map=mask, gt_masks=BitmapMasks(mask[None], *SIZE)))
    expected = by_pil(image, angle, shear, Image.Resampling.BILINEAR, (10, 200, 30)).astype(int)
    far = np.abs(moved["img"].astype(int) - expected).max(axis=2) > 3
    assert far.mean() < 0.03  # the border alone, which PIL does not blend with the fill
    truth = by_pil(mask, angle, shear, Image.Resampling.NEAREST, 0)
    assert (moved["gt_seg_map"] != truth).mean() < 0.003
    np.testing.assert_array_equal(moved["gt_masks"].masks[0], moved["gt_seg_map"])
    assert truth.sum() > 500


def test_the_centre_stays_and_the_top_leans():
    matrix = rotation_and_shear(0.0, 0.2, (11, 21))
    np.testing.assert_allclose(matrix @ [10, 5, 1], [10, 5])
    np.testing.assert_allclose(matrix @ [10, 0, 1], [10 + 5 * math.tan(0.2), 0])
    np.testing.assert_allclose(
        rotation_and_shear(math.pi / 2, 0.0, (11, 21)) @ [20, 5, 1], [10, 15], atol=1e-12
    )  # clockwise


def objects(*boxes):
    masks = np.zeros((len(boxes), *SIZE), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    bitmaps = BitmapMasks(masks, *SIZE)
    return dict(img=np.full((*SIZE, 3), 7, np.uint8), gt_masks=bitmaps, gt_bboxes=bitmaps.get_bboxes(HorizontalBoxes))


def test_boxes_are_those_of_the_moved_masks():
    np.random.seed(3)
    before = objects((50, 30, 80, 60), (20, 40, 45, 70))
    old = before["gt_masks"].masks.copy()
    moved = build(angle=25, shear=20)(before)
    assert (moved["gt_masks"].masks != old).any(axis=(1, 2)).all()
    for mask, box in zip(moved["gt_masks"].masks, moved["gt_bboxes"].tensor.tolist(), strict=True):
        y, x = np.nonzero(mask)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert moved["img"].shape == (*SIZE, 3)
    assert (moved["img"] == (103, 116, 123)).all(axis=2).any()


def corner():
    """An object that a turn to the one side, or the other, pushes out of the image."""
    return objects((0, 0, 2, 2), (60, 40, 70, 50))


def test_no_object_is_lost():
    np.random.seed(0)
    before = corner()
    image, masks = before["img"], before["gt_masks"]
    transform = build(angle=25, shear=0)
    transform._random_angles = lambda: [(0.4, 0.0)]
    same = transform(before)
    assert same["img"] is image
    assert same["gt_masks"] is masks
    transform._random_angles = lambda: [(0.4, 0.0), (0.0, 0.0), (0.4, 0.0)]  # the second does
    moved = transform(corner())
    assert moved["img"] is not image
    np.testing.assert_array_equal(moved["gt_masks"].masks, masks.masks)


def test_an_object_that_was_empty_before_and_none_at_all_are_no_hindrance():
    transform = build()
    transform._random_angles = lambda: [(0.4, 0.0)]
    for before in (objects((60, 40, 70, 50), (5, 5, 5, 5)), objects()):
        image = before["img"].copy()
        assert (transform(before)["img"] != image).any()
        assert before["gt_bboxes"].tensor.shape == (len(before["gt_masks"]), 4)


def test_a_label_map_keeps_its_labels_and_what_is_ignored():
    label = np.zeros(SIZE, np.uint8)
    label[40:50, 60:70], label[:, 100:] = 3, 255
    transform = build()
    transform._random_angles = lambda: [(0.4, 0.0)]
    moved = transform(dict(img=np.zeros((*SIZE, 3), np.uint8), gt_seg_map=label.copy()))["gt_seg_map"]
    assert set(np.unique(moved)) == {0, 3, 255}
    assert (moved != label).any()
    label[0, 0] = 9  # turned out of the image
    assert transform(dict(img=np.zeros((*SIZE, 3), np.uint8), gt_seg_map=label))["gt_seg_map"] is label


def test_draws():
    np.random.seed(0)
    transform = build(angle=25, shear=20, attempts=500)
    draws = np.degrees(transform._random_angles())
    assert draws.shape == (500, 2)
    assert (np.abs(draws) <= [25, 20]).all()
    assert (draws.max(axis=0) > [24, 19]).all()
    assert (draws.min(axis=0) < [-24, -19]).all()
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.15


@pytest.mark.parametrize("wrong", [dict(angle=-1), dict(angle=181), dict(shear=90), dict(shear=-1), dict(attempts=0)])
def test_says_what_is_wrong(wrong):
    (name, value) = next(iter(wrong.items()))
    with pytest.raises(ConfigError, match=f"RandomRotateShear: {name}={value} is not"):
        build(**wrong)
