"""Generated scenes are repeatable, varied, and give nothing away but texture."""

import numpy as np
import pytest

from samplug.datasets.synthetic import TEXTURES, camouflage_scene
from samplug.datasets.synthetic.camouflage import GROUND_TEXTURES, OBJECT_TEXTURES
from samplug.evaluation import baselines
from samplug.evaluation.functional import SaliencyCounts, s_measure
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError


@pytest.mark.parametrize("name", sorted(TEXTURES))
def test_textures(name):
    for seed in range(5):
        texture = TEXTURES[name](np.random.default_rng(seed), 96)
        assert texture.shape == (96, 96)
        assert texture.dtype == np.float32
        assert texture.mean() == pytest.approx(0, abs=1e-3)
        assert texture.std() == pytest.approx(1, abs=1e-2)
    again = TEXTURES[name](np.random.default_rng(4), 96)
    np.testing.assert_array_equal(texture, again)


def test_families_are_known_and_apart():
    assert set(GROUND_TEXTURES) | set(OBJECT_TEXTURES) | {"blotches", "dots"} == set(TEXTURES)
    assert not set(GROUND_TEXTURES) & set(OBJECT_TEXTURES)


def test_scene_is_a_function_of_seed_and_index():
    image, mask = camouflage_scene(3, 7, 64)
    assert image.shape == (64, 64, 3)
    assert image.dtype == mask.dtype == np.uint8
    assert 0.07 <= mask.mean() <= 0.4
    np.testing.assert_array_equal(image, camouflage_scene(3, 7, 64)[0])
    assert not np.array_equal(image, camouflage_scene(3, 8, 64)[0])
    assert not np.array_equal(image, camouflage_scene(4, 7, 64)[0])
    with pytest.raises(ValueError, match="too small"):
        camouflage_scene(0, 0, 16)


def test_neither_colour_nor_place_gives_the_object_away():
    differences, centre, constant = [], [], []
    for index in range(100):
        image, mask = camouflage_scene(1000, index, 96)
        inside, outside = image[mask > 0].astype(float), image[mask == 0].astype(float)
        differences.append(np.abs(inside.mean(0) - outside.mean(0)) / outside.std(0))
        gt = mask > 0
        centre.append(s_measure(SaliencyCounts.of(baselines.centre_prior(np.zeros((*gt.shape, 3), np.uint8)), gt)))
        constant.append(s_measure(SaliencyCounts.of(baselines.constant(np.zeros((*gt.shape, 3), np.uint8)), gt)))
    assert np.mean(differences) < 0.35
    assert np.mean(centre) < 0.6
    assert np.mean(constant) < 0.5


def test_dataset():
    dataset = DATASETS.build(
        dict(
            type="CamouflageSceneDataset",
            length=3,
            size=48,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="mmseg.Resize", scale=(32, 32)),
                dict(type="LoadBinaryMask"),
                dict(type="mmseg.PackSegInputs"),
            ],
        )
    )
    assert len(dataset) == 3
    item = dataset[1]
    assert item["inputs"].shape == (3, 32, 32)
    assert item["data_samples"].gt_sem_seg.data.shape == (1, 48, 48)
    assert item["data_samples"].ori_shape == (48, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(length=0), "length=0 must be at least 1"),
        (dict(length=1, ground_textures=("cells", "foo")), "texture='foo' is unknown: use one of .*cells"),
        (dict(length=1, object_textures="cells"), "texture='c' is unknown"),
    ],
)
def test_options_of_the_dataset(options, message):
    with pytest.raises(ConfigError, match=message):
        DATASETS.build(dict(type="CamouflageSceneDataset", **options))
