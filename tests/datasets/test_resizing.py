"""Resizing and cropping for classifiers against Pillow, with torchvision's sizes."""

import math

import numpy as np
import pytest
from mmcv.transforms import Compose
from PIL import Image

from samplug.datasets.transforms import RandomResizedCrop, ResizeShortSide
from samplug.utils.errors import ConfigError

FILTERS = dict(bilinear=Image.Resampling.BILINEAR, bicubic=Image.Resampling.BICUBIC)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("height", "width"), [(61, 97), (97, 61), (300, 451), (64, 64), (40, 41)])
def test_resize_and_centre_crop_equal_torchvisions(height, width, interpolation):
    """Resize(64), CenterCrop(56): shorter side 64, longer side rounded down, offsets rounded half to even."""
    image = picture(height, width)
    short, long = min(height, width), max(height, width)
    sizes = {short: 64, long: 64 * long // short}
    resized = Image.fromarray(image).resize((sizes[width], sizes[height]), FILTERS[interpolation])
    left, top = round((resized.width - 56) / 2), round((resized.height - 56) / 2)
    expected = np.asarray(resized.crop((left, top, left + 56, top + 56)))
    pipeline = Compose([ResizeShortSide(64, interpolation), dict(type="CenterCrop", crop_size=56)])
    found = pipeline(dict(img=image))
    assert np.array_equal(found["img"], expected)
    assert found["img_shape"] == (56, 56)


def test_stretching_is_pillows():
    """SAM's input of the SAMantics preset."""
    image = picture(61, 97)
    found = Compose([dict(type="mmseg.Resize", scale=(32, 32), keep_ratio=False, backend="pillow")])(dict(img=image))
    assert np.array_equal(found["img"], np.asarray(Image.fromarray(image).resize((32, 32), FILTERS["bilinear"])))


def test_shrinking_averages_pixels():
    """OpenCV's bilinear filter skips pixels; Pillow's does not."""
    board = np.indices((256, 256)).sum(0) % 2 * 255
    image = np.repeat(board[..., None], 3, 2).astype(np.uint8)
    assert np.ptp(ResizeShortSide(32).transform(dict(img=image))["img"].astype(int)) < 8


@pytest.mark.parametrize("interpolation", FILTERS)
def test_random_part_is_resized_as_pillow_does(interpolation):
    image, transform = picture(90, 140), RandomResizedCrop(48, interpolation=interpolation)
    for seed in range(20):
        np.random.seed(seed)
        top, left, height, width = transform._random_box(90, 140)
        part = Image.fromarray(image).crop((left, top, left + width, top + height))
        np.random.seed(seed)
        found = transform.transform(dict(img=image))
        assert np.array_equal(found["img"], np.asarray(part.resize((48, 48), FILTERS[interpolation])))


def test_distribution_of_random_parts():
    """Uniform area, uniform logarithm of the ratio, every place equally likely."""
    transform, side = RandomResizedCrop(32, scale=(0.1, 0.5)), 1000
    np.random.seed(0)
    boxes = np.array([transform._random_box(side, side) for _ in range(4000)])
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert (top + height <= side).all()
    assert (left + width <= side).all()
    areas, ratios = height * width / side**2, np.log(width / height)
    for values, (low, high) in ((areas, (0.1, 0.5)), (ratios, (-math.log(4 / 3), math.log(4 / 3)))):
        assert low - 0.003 < values.min()
        assert values.max() < high + 0.003
        shares = np.histogram(values, 4, (low, high))[0] / len(values)
        assert abs(shares - 0.25).max() < 0.03
    places = left / np.maximum(side - width, 1)
    assert abs(np.histogram(places, 4, (0, 1))[0] / len(places) - 0.25).max() < 0.03


@pytest.mark.parametrize(("height", "width", "expected"), [(10, 400, (0, 193, 10, 13)), (400, 10, (193, 0, 13, 10))])
def test_a_part_that_never_fits_is_the_centre(height, width, expected):
    """The largest part with an allowed ratio, as torchvision's fall-back."""
    assert RandomResizedCrop(8, scale=(1.0, 1.0))._random_box(height, width) == expected


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResizeShortSide(0), "size=0"),
        (lambda: ResizeShortSide(8, "lanczos"), "interpolation='lanczos' is unknown: use one of nearest, bilinear"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 2)), "scale="),
        (lambda: RandomResizedCrop(8, ratio=(2, 1)), "ratio="),
        (lambda: RandomResizedCrop(8.5), "size=8.5"),
    ],
)
def test_bad_settings(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
