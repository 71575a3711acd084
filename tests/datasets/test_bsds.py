"""Crops of BSDS500 with human segmentations."""

import numpy as np
import pytest
from scipy.io import savemat

from samplug.datasets.bsds import read_segmentations
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.rle import decode_rle
from tests.builders import bsds_cells as cells
from tests.builders import write_bsds as write
from tests.datasets.test_texture_scenes import PIPELINE


def quarters(height=110, width=150):
    """Four labels that do not start at 0 and have a gap."""
    y, x = np.mgrid[:height, :width]
    return (1 + 2 * (y > height // 3) + 5 * (x > width // 2)).astype(np.uint16)


def halves(height=110, width=150):
    return np.repeat([[1] * (width // 2) + [2] * (width - width // 2)], height, axis=0).astype(np.uint8)


def build(root, **kwargs):
    kwargs = {"length": 8, "size": 48, "pipeline": PIPELINE, **kwargs}
    return DATASETS.build(dict(type="BSDSCropDataset", data_root=str(root), **kwargs))


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "1", halves(), quarters())
    write(tmp_path, "2", halves())
    write(tmp_path, "3", quarters(), split="val")
    return tmp_path


def check_sample(dataset, index):
    """The label map and the instances agree, and the pipeline packs them."""
    info = dataset.get_data_info(index)
    labels, size = info["generated_map"], dataset.size
    assert info["img"].shape == (size, size, 3)
    assert info["img"].dtype == labels.dtype == np.uint8
    counts = np.bincount(labels.ravel())
    assert (counts > 0).all()
    assert (np.diff(counts) <= 0).all()
    masks = [decode_rle(instance["mask"]) for instance in info["instances"]]
    assert all((mask == (labels == label)).all() for label, mask in enumerate(masks))
    packed = dataset[index]
    assert packed["inputs"].shape == (3, size, size)
    assert len(packed["data_samples"].gt_instances.masks) == len(masks) == len(counts)
    return counts / counts.sum()


def test_crops(root):
    dataset = build(root)
    assert len(dataset) == 8
    numbers = {len(check_sample(dataset, index)) for index in range(8)}
    assert 2 in numbers
    assert dataset.get_data_info(3)["img_path"] == "crop_0_00003.png"
    for index in range(8):  # pixels and labels are of the same place: only labels decide on the brightness
        info = dataset.get_data_info(index)
        if len(info["instances"]) == 2:
            means = [info["img"][info["generated_map"] == label].mean() for label in (0, 1)]
            assert abs(means[0] - means[1]) > 8
    assert len(build(root, splits=("train", "val")).images) == len(dataset.images) + 1 == 3


def test_crops_are_a_function_of_seed_and_index(root):
    forward, backward = build(root), build(root)
    first = [forward.get_data_info(index) for index in range(8)]
    second = [backward.get_data_info(index) for index in reversed(range(8))][::-1]
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one["img"], other["img"])
        assert np.array_equal(one["generated_map"], other["generated_map"])
    assert not np.array_equal(first[0]["img"], first[1]["img"])
    assert not np.array_equal(first[0]["img"], build(root, seed=1).get_data_info(0)["img"])


def test_images_that_are_small_or_of_one_segment(tmp_path):
    write(tmp_path, "1", np.ones((40, 30), np.uint8), size=(40, 30))
    assert check_sample(build(tmp_path, length=1), 0) == pytest.approx([1])


def test_more_segments_than_labels(tmp_path):
    write(tmp_path, "1", np.arange(96 * 96, dtype=np.uint16).reshape(96, 96), size=(96, 96))
    labels = build(tmp_path, length=1, size=96, pipeline=[]).get_data_info(0)["generated_map"]
    assert labels.max() == 255
    assert np.bincount(labels.ravel()).tolist() == [1] * 255 + [96 * 96 - 255]


def test_sets_can_be_mixed(root):
    scenes = dict(type="TextureSceneDataset", length=3, size=48, bank=2, pipeline=PIPELINE)
    crops = dict(type="BSDSCropDataset", data_root=str(root), length=2, size=48, pipeline=PIPELINE)
    mixed = DATASETS.build(dict(type="ConcatDataset", datasets=[scenes, crops]))
    assert len(mixed) == 5
    for index in range(5):
        assert len(mixed[index]["data_samples"].gt_instances.masks) >= 2


def test_real_crops(test_data):
    dataset = build(test_data / "data" / "bsds500" / "BSDS500" / "data", length=40, size=64)
    shares = [check_sample(dataset, index) for index in range(40)]
    assert len(dataset.images) >= 20
    telling = [len(share) > 1 and share[1] > 0.07 and share[:3].sum() > 0.88 for share in shares]
    assert np.mean(telling) > 0.9


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "MatReadError"),
        (b"no MATLAB file at all, but long enough for a header of 128 bytes" * 4, "Error"),
        ("truncated", "Error"),
        (dict(other=1), "KeyError: 'groundTruth'"),
        (dict(groundTruth=np.ones((2, 2))), "Error"),
        (cells(), "not a matrix of whole numbers"),
        (cells(np.ones((4, 4, 2), np.uint8)), "not a matrix of whole numbers"),
        (cells(np.full((4, 4), 0.5)), "not a matrix of whole numbers"),
    ],
)
def test_broken_segmentation(tmp_path, content, reason):
    path = write(tmp_path, "12", halves())
    if isinstance(content, dict):
        savemat(path, content)
    else:
        path.write_bytes(path.read_bytes()[:-300] if content == "truncated" else content)
    with pytest.raises(DataError, match=f"12.mat is not a segmentation of BSDS500.*{reason}.*copy it again") as error:
        build(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_missing_and_unfit_files(root, tmp_path_factory):
    with pytest.raises(DataError, match="images/test does not exist"):
        build(root, splits=("test",))
    write(root, "4", halves(90, 100))
    with pytest.raises(DataError, match=r"4.mat has a segmentation of 100x90 pixels, .*4.jpg has 150x110"):
        build(root)
    (root / "groundTruth" / "train" / "4.mat").unlink()
    with pytest.raises(DataError, match=r"1 images of .*train have no segmentation in .*: 4; copy NAME.mat"):
        build(root)
    empty = tmp_path_factory.mktemp("empty")
    (empty / "images" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="images/train holds no images"):
        build(empty)


def test_settings_out_of_range(root):
    for splits in ("train", ()):
        with pytest.raises(ConfigError, match="is not a list of folders"):
            build(root, splits=splits)
    with pytest.raises(ConfigError, match="length=0"):
        build(root, length=0)


def test_segmentations_are_read_as_they_are(tmp_path):
    path = write(tmp_path, "1", quarters(), halves())
    first, second = read_segmentations(path)
    assert (first == quarters()).all()
    assert (second == halves()).all()
    assert first.dtype == second.dtype == np.uint16
