"""Generated scenes of several textures."""

import numpy as np
import pytest

from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError
from samplug.utils.rle import decode_rle

PIPELINE = [
    dict(type="LoadImage"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="mmdet.PackDetInputs", meta_keys=("img_path", "ori_shape", "img_shape")),
]


def build(**kwargs):
    return DATASETS.build(dict(type="TextureSceneDataset", **{"length": 6, "size": 48, "pipeline": PIPELINE, **kwargs}))


def test_regions_are_objects():
    dataset = build(regions=(2, 4))
    for index in range(6):
        info = dataset.get_data_info(index)
        masks = [decode_rle(instance["mask"]) for instance in info["instances"]]
        assert 2 <= len(masks) <= 4
        assert (np.sum(masks, axis=0) == 1).all()
        assert all((mask == (info["gt_seg_map"] == label)).all() for label, mask in enumerate(masks))
        assert min(mask.mean() for mask in masks) >= 0.06
    packed = dataset[0]
    assert len(packed["data_samples"].gt_instances.masks) == len(dataset.get_data_info(0)["instances"])


def test_scenes_are_a_function_of_seed_and_index():
    first, same, other = build(), build(), build(seed=1)
    assert np.array_equal(first.get_data_info(2)["img"], same.get_data_info(2)["img"])
    assert not np.array_equal(first.get_data_info(2)["img"], other.get_data_info(2)["img"])
    assert not np.array_equal(first.get_data_info(2)["img"], first.get_data_info(3)["img"])


def test_settings_out_of_range(tmp_path):
    with pytest.raises(ConfigError, match=r"regions=\(1, 3\) is not a range"):
        build(regions=(1, 3))
    with pytest.raises(ConfigError, match="length=0"):
        build(length=0)
