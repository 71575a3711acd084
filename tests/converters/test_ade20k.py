"""Objects of ADE20K become SA-1B's JSON files, or one map an image."""

import json

import cv2
import numpy as np
import pytest

from samplug.commands.run import main
from samplug.converters import read_annotations, to_unified
from samplug.converters.to_unified import unify
from samplug.datasets import SA1BDataset, TextureSegDataset
from samplug.utils.errors import DataError

NAME = "ADE_val_00000001"
SIZE = (30, 40)


def box(y0, x0, y1, x1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


SMALL, LARGE, MIDDLE = box(2, 2, 8, 8), box(0, 0, 30, 20), box(5, 5, 15, 30)
WANTED = LARGE.astype(np.uint8)
WANTED[MIDDLE], WANTED[SMALL] = 2, 3


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


@pytest.fixture
def root(tmp_path):
    """An image with three objects, in the layout of ADE20K_real_images."""
    write(tmp_path / f"images/{NAME}.jpg", np.full((*SIZE, 3), 90, np.uint8))
    for number, mask in enumerate((SMALL, LARGE, MIDDLE)):
        write(tmp_path / f"gt_instances/instance_{number:03d}_{NAME}.png", mask * np.uint8(255))
    return tmp_path


def test_instances_to_maps_that_the_dataset_reads(root, capsys):
    unified = root / "ADE20K_unified_gt_instances"
    arguments = ["ade20k", str(root / "gt_instances"), str(unified), "--images", str(root / "images")]
    assert main("prepare", [*arguments, "--to", "unified"]) == 0
    assert "3 objects of 1 images" in capsys.readouterr().out
    labels = cv2.imread(str(unified / f"unified_{NAME}.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint8
    assert (labels == WANTED).all()
    dataset = TextureSegDataset(str(root), "ade20k", pipeline=[])
    assert dataset.describe() == "labels as ade20k, 40x30, 3 regions an image"


def test_instances_to_sa1b(root):
    arguments = ["ade20k", str(root / "gt_instances"), str(root / "out"), "--images", str(root / "images")]
    assert main("prepare", arguments) == 0
    dataset = SA1BDataset(str(root / "out/images"), pipeline=[])
    areas = [entry["area"] for entry in json.loads((root / f"out/images/{NAME}.json").read_text())["annotations"]]
    assert areas == [mask.sum() for mask in (SMALL, LARGE, MIDDLE)]
    assert len(dataset.get_data_info(0)["instances"]) == 3


@pytest.mark.parametrize("name", [f"{NAME}.png", f"unified_{NAME}.png", f"{NAME}_seg.png"])
@pytest.mark.parametrize("colours", [False, True])
def test_maps(root, name, colours):
    """Each grey value and each colour is an object, but 0 and black."""
    labels = np.zeros((*SIZE, 3), np.uint8)
    for number, mask in enumerate((LARGE, MIDDLE, SMALL), start=1):
        labels[mask] = (number, 20, 30 * number) if colours else number
    write(root / "maps" / name, labels if colours else labels[..., 0])
    annotations = read_annotations(root / "maps", "ade20k", root / "images")
    (image,) = annotations.images
    masks = {region.category: region.shape.raster(SIZE) for region in image.regions}
    assert len(masks) == 3
    assert (masks["90/20/3" if colours else "3"] == SMALL).all()
    assert (masks["30/20/1" if colours else "1"] == (LARGE & ~MIDDLE & ~SMALL)).all()
    assert not annotations.problems


def test_what_is_covered_and_what_has_16_bits(root):
    halves = box(2, 2, 8, 5), box(2, 5, 8, 8)  # of the small object
    for number, half in enumerate(halves, start=3):
        write(root / f"gt_instances/instance_{number:03d}_{NAME}.png", half * np.uint8(255))
    summary = to_unified(read_annotations(root / "gt_instances", "ade20k", root / "images"), root / "out")
    assert (summary["objects"], summary["objects_covered"], summary["images_of_16_bits"]) == (5, 1, [])
    many = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 300
    labels, objects = unify([many == value for value in range(300)], SIZE)
    assert (labels.dtype, objects, len(np.unique(labels))) == (np.uint16, 300, 300)
    write(root / f"maps/{NAME}.png", many.astype(np.uint16))
    summary = to_unified(read_annotations(root / "maps", "ade20k", root / "images"), root / "deep")
    assert summary["images_of_16_bits"] == [f"{NAME}.jpg"]
    read = cv2.imread(str(root / f"deep/unified_{NAME}.png"), cv2.IMREAD_UNCHANGED)
    assert (read.dtype, read.max()) == (np.uint16, 299)


def test_problems_are_named_and_nothing_is_written(root):
    write(root / "images/ADE_val_00000002.jpg", np.zeros((*SIZE, 3), np.uint8))
    write(root / f"gt_instances/instance_003_{NAME}.png", np.zeros((5, 5), np.uint8))
    annotations = read_annotations(root / "gt_instances", "ade20k", root / "images")
    with pytest.raises(DataError, match="nothing was written") as error:
        to_unified(annotations, root / "out")
    assert "ADE_val_00000002.jpg: has no instance of the same name" in str(error.value)
    assert "5x5" in str(error.value)
    assert not (root / "out").exists()
