"""Generated scenes of several textures."""

import cv2
import numpy as np
import pytest

from samplug.datasets.camera import camera
from samplug.datasets.synthetic import partitions
from samplug.datasets.synthetic.texture_scenes import texture_scene
from samplug.datasets.texturing import GeneratedTextures, MixedTextures, PhotoTextures, TextureBank
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError
from samplug.utils.rle import decode_rle

PIPELINE = [
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="mmdet.PackDetInputs", meta_keys=("img_path", "ori_shape", "img_shape", "flip")),
]


class Plain:
    """Textures of one colour, and how often they were drawn."""

    def __init__(self):
        self.draws = 0

    def draw(self, rng, size):
        self.draws += 1
        return np.full((*size, 3), rng.integers(256, size=3), np.uint8)


def build(**kwargs):
    kwargs = {"length": 6, "size": 48, "bank": 4, "pipeline": PIPELINE, **kwargs}
    return DATASETS.build(dict(type="TextureSceneDataset", **kwargs))


def images(dataset, order):
    return {index: dataset.get_data_info(index)["img"] for index in order}


@pytest.mark.parametrize("bank", [0, 4])
def test_regions_are_objects(bank):
    dataset = build(regions=(2, 4), bank=bank)
    for index in range(6):
        info = dataset.get_data_info(index)
        assert info["img"].shape == (48, 48, 3)
        assert info["img"].dtype == info["generated_map"].dtype == np.uint8
        masks = [decode_rle(instance["mask"]) for instance in info["instances"]]
        assert 2 <= len(masks) <= 4
        assert (np.sum(masks, axis=0) == 1).all()
        assert all((mask == (info["generated_map"] == label)).all() for label, mask in enumerate(masks))
        assert min(mask.mean() for mask in masks) >= 0.06
        for mask, instance in zip(masks, info["instances"], strict=True):
            rows, columns = np.nonzero(mask)
            assert instance["bbox"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("first", [[], [dict(type="LoadImage")]])
def test_pipelines_of_mmdet_need_no_other_transform(first):
    dataset = build(pipeline=first + PIPELINE)
    flipped = set()
    for index in range(6):
        packed, info = dataset[index], dataset.get_data_info(index)
        instances, mirrored = packed["data_samples"].gt_instances, packed["data_samples"].flip
        flipped.add(mirrored)
        labels = info["generated_map"][:, ::-1] if mirrored else info["generated_map"]
        assert packed["inputs"].shape == (3, 48, 48)
        assert packed["data_samples"].img_shape == packed["data_samples"].ori_shape == (48, 48)
        assert len(instances.bboxes) == len(instances.masks) == len(info["instances"])
        assert all((mask == (labels == label)).all() for label, mask in enumerate(instances.masks.masks))
    assert flipped == {False, True}


@pytest.mark.parametrize("bank", [0, 4])
def test_scenes_are_a_function_of_seed_and_index(bank):
    first = images(build(bank=bank), range(6))
    backwards = images(build(bank=bank), reversed(range(6)))
    alone = images(build(bank=bank), [4])
    assert all(np.array_equal(first[index], backwards[index]) for index in range(6))
    assert np.array_equal(first[4], alone[4])
    assert not np.array_equal(first[2], images(build(seed=1, bank=bank), [2])[2])
    assert not np.array_equal(first[2], first[3])


def test_each_number_of_regions_is_three_times_as_likely_as_the_next():
    for regions, shares in (((2, 3), (3 / 4, 1 / 4)), ((2, 4), (9 / 13, 3 / 13, 1 / 13)), ((3, 3), (1,))):
        found = [len(np.unique(texture_scene(0, index, 16, Plain(), regions)[1])) for index in range(200)]
        counts = np.bincount(found, minlength=regions[1] + 1)[regions[0] :]
        assert counts / 200 == pytest.approx(shares, abs=0.08)


def test_half_of_the_pairs_are_an_object():
    def is_inside(labels):
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        return not border.any() and cv2.connectedComponents(labels)[0] == 2

    pairs = [is_inside(partitions.partition(np.random.default_rng(index), 64, 2)) for index in range(300)]
    objects = [is_inside(_object(index)) for index in range(300)]
    areas = [is_inside(partitions._smooth_areas(np.random.default_rng(index), 64, 2)) for index in range(300)]
    assert np.mean(areas) < 0.05 < 0.3 < np.mean(objects)  # the border cuts the others
    assert np.mean(pairs) == pytest.approx(np.mean(objects) / 2, abs=0.12)


def test_objects_are_smooth_or_polygons():
    outlines = [_outline(_object(index, size=128)) for index in range(100)]
    corners = np.array([len(cv2.approxPolyDP(outline, 2, True)) for outline in outlines])
    assert 0.2 < np.mean(corners <= 6) < 0.8
    assert corners.min() == 3


def _object(seed, size=64):
    """An object large enough for a scene."""
    rng = np.random.default_rng(seed)
    while True:
        labels = partitions._object(rng, size, 2)
        if 0.06 <= labels.mean() <= 0.94:
            return labels


def _outline(labels):
    return cv2.findContours(labels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]


def test_regions_of_half_of_the_scenes_differ_only_in_texture():
    apart = []
    for index in range(200):
        image, labels = texture_scene(0, index, 32, Plain(), (2, 2))
        means = [image[labels == label].mean(0) for label in (0, 1)]
        apart.append(np.abs(means[0] - means[1]).mean())
    assert 0.3 < np.mean(np.array(apart) < 20) < 0.8
    assert np.mean(np.array(apart) > 40) > 0.2


def test_camera():
    image = np.full((32, 32, 3), (60, 120, 180), np.float32)
    taken = [camera(np.random.default_rng(index), image) for index in range(400)]
    assert all(picture.shape == image.shape and picture.dtype == np.uint8 for picture in taken)
    means = np.array([picture.mean((0, 1)) for picture in taken])
    assert means.mean() == pytest.approx(120, abs=4)
    assert means.std(axis=0).min() > 15
    assert np.mean(np.ptp(means, axis=1) < 2) == pytest.approx(0.15, abs=0.06)
    assert np.mean([picture.std((0, 1)).max() > 0.3 for picture in taken]) == pytest.approx(0.5, abs=0.08)
    again = camera(np.random.default_rng(7), image)
    assert np.array_equal(again, taken[7])
    assert (image == (60, 120, 180)).all()
    beyond = camera(np.random.default_rng(0), image * 100 - 9000)
    assert beyond.min() == 0
    assert beyond.max() == 255


@pytest.mark.parametrize("size", [(40, 40), (17, 90), (300, 20), (1, 1)])
def test_bank_has_the_contract_of_its_source(size):
    bank = TextureBank(GeneratedTextures(), number=3, side=64)
    for seed in range(20):
        texture = bank.draw(np.random.default_rng(seed), size)
        assert texture.shape == (*size, 3)
        assert texture.dtype == np.uint8
        assert texture.flags.c_contiguous
    other = TextureBank(GeneratedTextures(), number=3, side=64)
    assert np.array_equal(other.draw(np.random.default_rng(19), size), texture)


def test_bank_draws_each_texture_once():
    source = Plain()
    bank = TextureBank(source, number=5, side=32)
    drawn = {tuple(bank.draw(np.random.default_rng(seed), (8, 8))[0, 0]) for seed in range(60)}
    assert source.draws == len(drawn) == 5
    other_seed = TextureBank(source, number=5, side=32, seed=1)
    assert not drawn & {tuple(other_seed.draw(np.random.default_rng(seed), (8, 8))[0, 0]) for seed in range(60)}


def test_bank_draws_other_parts_of_a_texture():
    bank = TextureBank(GeneratedTextures(), number=1, side=64)
    parts = {bank.draw(np.random.default_rng(seed), (32, 32)).tobytes() for seed in range(30)}
    assert len(parts) >= 29


def test_a_dataset_uses_photographs_and_generated_textures(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    source = build(textures=str(tmp_path), generated=0.25, bank=40).source
    assert isinstance(source, TextureBank)
    assert isinstance(source.source, MixedTextures)
    photographs = np.mean([not source._texture(index).any() for index in range(40)])
    assert 0.55 < photographs < 0.95
    assert isinstance(build(textures=str(tmp_path), bank=0).source.source, PhotoTextures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(regions=(1, 3)), r"regions=\(1, 3\) is not a range"),
        (dict(length=0), "length=0"),
        (dict(bank=-1), "bank=-1 is negative: use a number of textures, or 0"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_an_empty_bank_is_an_error():
    with pytest.raises(ConfigError, match="number=0 must be at least 1"):
        TextureBank(GeneratedTextures(), number=0)
