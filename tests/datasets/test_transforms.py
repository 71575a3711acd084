"""Images and masks stay aligned, and ignored pixels stay ignored, in every transform that docs/data.md names."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from PIL import Image

from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError

SQUASH = dict(type="mmseg.Resize", scale=(96, 96), keep_ratio=False, backend="pillow")
LETTERBOX = dict(type="mmseg.Resize", scale=(96, 96), keep_ratio=True)
FLIPS = [dict(type="mmseg.RandomFlip", prob=1.0, direction=way) for way in ("horizontal", "vertical")]
CROP = dict(type="mmseg.RandomCrop", crop_size=(50, 70))
COLOUR = dict(type="mmseg.PhotoMetricDistortion")
BLUR = dict(type="RandomGaussianBlur", prob=1.0)
LEVELS = {0: 40, 255: 130, 1: 220}


def scene():
    """(100, 150) mask without any symmetry, and an image that shows it."""
    mask = np.zeros((100, 150), np.uint8)
    mask[10:60, 20:70] = 1
    mask[40:, 90:] = 255
    grey = np.select([mask == label for label in LEVELS], list(LEVELS.values())).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), mask


def run(*transforms):
    image, mask = scene()
    steps = [dict(type="LoadImage"), dict(type="LoadBinaryMask"), *transforms, dict(type="mmseg.PackSegInputs")]
    packed = Compose(steps)(dict(img=image, generated_map=mask, img_path="scene.png", seg_fields=[]))
    return packed["inputs"].permute(1, 2, 0).numpy(), packed["data_samples"].gt_sem_seg.data[0].numpy()


def check_aligned(image, mask):
    """Away from borders between labels, where resizing and blurring mix, each label has one grey level in the image."""
    assert image.shape[:2] == mask.shape
    assert set(np.unique(mask)) == set(LEVELS)
    grey, window = mask.astype(np.uint8), np.ones((13, 13), np.uint8)
    inside = cv2.erode(grey, window) == cv2.dilate(grey, window)
    levels = [image[inside & (mask == label)].astype(int) for label in LEVELS]
    assert all(level.size and np.ptp(level) <= 3 for level in levels)
    means = [level.mean() for level in levels]
    assert means[0] + 10 < means[1] < means[2] - 10


@pytest.mark.parametrize(
    ("transforms", "shape"),
    [
        ([SQUASH], (96, 96)),
        ([LETTERBOX], (64, 96)),
        (FLIPS[:1], (100, 150)),
        (FLIPS[1:], (100, 150)),
        ([CROP], (50, 70)),
        ([COLOUR], (100, 150)),
        ([BLUR], (100, 150)),
        ([LETTERBOX, *FLIPS, dict(CROP, crop_size=(60, 90)), COLOUR, BLUR], (60, 90)),
    ],
)
def test_alignment(transforms, shape):
    for seed in (0, 4, 9):  # crops of these seeds hold all three labels
        np.random.seed(seed)
        image, mask = run(*transforms)
        assert mask.shape == shape
        check_aligned(image, mask)


def test_alignment_check_sees_a_shift():
    image, mask = scene()
    with pytest.raises(AssertionError):
        check_aligned(np.roll(image, 15, axis=1), mask)


def test_flips_and_colours_move_exactly_what_they_should():
    image, mask = scene()
    np.testing.assert_array_equal(run(*FLIPS)[1], mask[::-1, ::-1])
    np.random.seed(0)
    for transform in (COLOUR, BLUR):
        changed, same = run(transform)
        np.testing.assert_array_equal(same, mask)
        assert (changed != image).any()


def test_pillow_resize_is_pils():
    noise = np.random.default_rng(0).integers(0, 256, (50, 91, 3), np.uint8)
    mask = np.random.default_rng(1).choice([0, 1, 255], (50, 91)).astype(np.uint8)
    resized = TRANSFORMS.build(SQUASH)(dict(img=noise, gt_seg_map=mask, seg_fields=["gt_seg_map"]))
    expected = Image.fromarray(noise).resize((96, 96), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized["img"], np.asarray(expected))
    expected = Image.fromarray(mask).resize((96, 96), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(resized["gt_seg_map"], np.asarray(expected))


def test_blur_widths():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255

    def peaks(**kwargs):
        np.random.seed(0)
        blur = TRANSFORMS.build(dict(type="RandomGaussianBlur", **kwargs))
        return [int(blur(dict(img=image))["img"].max()) for _ in range(40)]

    assert peaks(prob=0.0) == [255] * 40
    assert 10 < sum(peak < 255 for peak in peaks(prob=0.5, sigma=(1.0, 1.0))) < 30
    assert abs(peaks(prob=1.0, sigma=(1.0, 1.0))[0] - 255 / (2 * np.pi)) < 2  # the Gaussian's own peak
    assert len(set(peaks(prob=1.0, sigma=(0.5, 2.0)))) > 10


@pytest.mark.parametrize("wrong", [dict(prob=2), dict(prob=1, sigma=(2, 1)), dict(prob=1, sigma=(0, 1))])
def test_blur_says_what_is_wrong(wrong):
    with pytest.raises(ConfigError, match=r"RandomGaussianBlur: (prob=2|sigma=)"):
        TRANSFORMS.build(dict(type="RandomGaussianBlur", **wrong))


def jitter(order, **kwargs):
    transform = TRANSFORMS.build(dict(type="ColorJitter", **kwargs))
    transform._random_factors = lambda: order
    return transform


def test_colour_jitter():
    """Each by its formula; the order of the operations counts, and of the channels."""
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    exact = image.astype(float)
    grey = exact @ [0.114, 0.587, 0.299]  # BGR
    blends = dict(brightness=0.0, contrast=grey.mean(), saturation=grey[..., None])
    for name, towards in blends.items():
        for factor in (0.6, 1.0, 1.3):
            found = jitter([(name, factor)])(dict(img=image))["img"]
            expected = np.clip(factor * exact + (1 - factor) * towards, 0, 255)
            assert np.abs(found - expected).max() < 2, name
    steps = [("brightness", 1.5), ("contrast", 0.5)]
    one, other = (jitter(order)(dict(img=image))["img"] for order in (steps, steps[::-1]))
    assert (one != other).mean() > 0.5


def test_colour_jitter_draws():
    np.random.seed(0)
    transform = TRANSFORMS.build(dict(type="ColorJitter", brightness=0.1, saturation=2.0))
    draws = [transform._random_factors() for _ in range(300)]
    assert {tuple(name for name, _ in draw) for draw in draws} == {
        ("brightness", "saturation"),
        ("saturation", "brightness"),
    }
    factors = {name: [dict(draw)[name] for draw in draws] for name in ("brightness", "saturation")}
    for name, (low, high) in dict(brightness=(0.9, 1.1), saturation=(0.0, 3.0)).items():
        assert low <= min(factors[name]) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(factors[name]) <= high
    image = np.full((4, 4, 3), 9, np.uint8)
    assert (TRANSFORMS.build(dict(type="ColorJitter"))(dict(img=image))["img"] == image).all()
    with pytest.raises(ConfigError, match=r"ColorJitter: contrast=-1 is below 0"):
        TRANSFORMS.build(dict(type="ColorJitter", contrast=-1))
