"""Masks that go to other tools come back."""

import json

import cv2
import numpy as np
import pytest

from samplug.converters import LabelledImage, export_annotations, read_annotations, to_masks
from samplug.converters.outlines import connected_parts, outline_polygon
from samplug.datasets import DataError
from samplug.imaging.shapes import LabelmeShape, Polygons

CLASSES = ("background", "foreground")


def noise(seed, height=31, width=45):
    """Parts within holes within parts, of all sizes, some that touch at corners."""
    rng = np.random.default_rng(seed)
    values = cv2.GaussianBlur(rng.random((height, width)).astype(np.float32), (0, 0), rng.choice([0.3, 1, 2]))
    return values > np.median(values)


def smooth(height=200, width=260):
    """An ellipse with two holes, a disc, and a bar at the edge."""
    y, x = np.mgrid[:height, :width]
    ellipse = ((x - 110) / 90) ** 2 + ((y - 100) / 70) ** 2 < 1
    holes = ((x - 90) ** 2 + (y - 90) ** 2 < 20**2) | ((x - 150) ** 2 + (y - 110) ** 2 < 12**2)
    return (ellipse & ~holes) | ((x - 230) ** 2 + (y - 40) ** 2 < 25**2) | ((x > 240) & (y > 120))


def images(folder, masks):
    for name, mask in masks.items():
        path = folder / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((*mask.shape, 3), 90, np.uint8))
        yield LabelledImage(name, path, mask.astype(np.uint8))


def there_and_back(folder, format, masks):
    export_annotations(images(folder, masks), folder / format, format, CLASSES)
    source = folder / format / "annotations.json" if format == "coco" else folder / format
    to_masks(read_annotations(source), folder / "back")
    read = {name: cv2.imread(str(folder / "back/masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE) for name in masks}
    assert all(set(np.unique(mask)) <= {0, 255} for mask in read.values())
    return {name: mask > 0 for name, mask in read.items()}


def test_coco_comes_back_exactly(tmp_path):
    masks = {"a": noise(0), "deep/b": noise(1), "c": np.zeros((9, 7), bool), "d": np.ones((5, 6), bool), "e": smooth()}
    for name, mask in there_and_back(tmp_path, "coco", masks).items():
        np.testing.assert_array_equal(mask, masks[name])


@pytest.mark.parametrize("format", ["labelme", "yolo"])
def test_polygons_come_back_nearly(tmp_path, format):
    masks = {"deep/a": smooth(), "b": smooth()[::-1, ::-1], "c": np.zeros((9, 7), bool), "d": np.ones((40, 50), bool)}
    for name, mask in there_and_back(tmp_path, format, masks).items():
        union = (mask | masks[name]).sum()
        assert union == 0 or (mask & masks[name]).sum() / union > 0.98
    assert not there_and_back(tmp_path / "again", format, {"a": np.zeros((9, 7), bool)})["a"].any()


@pytest.mark.parametrize("seed", range(12))
def test_outlines_without_tolerance(seed):
    """Exact where slits have no width; labelme draws them as lines, which may cross a hole."""
    mask = noise(seed, 20 + seed, 40 - seed)
    for edges in (True, False):
        drawn = np.zeros_like(mask)
        for part, corner in connected_parts(mask):
            points = outline_polygon(part, 0, edges) + corner
            shape = Polygons([points.ravel().tolist()]) if edges else LabelmeShape("polygon", points.tolist())
            assert shape.problem(mask.shape) is None
            drawn |= shape.raster(mask.shape)
        assert drawn[mask].all()
        assert drawn[~mask].mean() <= (0 if edges else 0.02)


def test_outlines_are_short():
    part = smooth()[:, :205]
    assert len(outline_polygon(part, 1.0)) < 100 < len(outline_polygon(part, 0.0))


def test_classes_are_kept(tmp_path):
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 5:20], labels[25:35, 30:55] = 1, 3
    (image,) = images(tmp_path, {"a": labels})
    names = ("other", "cat", "dog", "fish")
    for format in ("coco", "labelme", "yolo"):
        assert export_annotations([image], tmp_path / format, format, names) == 2
        source = tmp_path / format / "annotations.json" if format == "coco" else tmp_path / format
        (read,) = read_annotations(source).images
        assert {region.category: int(region.shape.raster((40, 60)).sum()) for region in read.regions} == {
            "cat": 225,
            "fish": 250,
        }


def test_coco_states_boxes_and_areas(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[4:9, 10:18] = True
    export_annotations(images(tmp_path, {"a": mask}), tmp_path / "coco", "coco", CLASSES)
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}]
    assert content["annotations"][0] | {"segmentation": None} == {
        "id": 1, "image_id": 1, "category_id": 1, "segmentation": None, "area": 40, "bbox": [10, 4, 8, 5], "iscrowd": 0,
    }  # fmt: skip


def test_corrections_are_not_overwritten_and_broken_runs_leave_nothing(tmp_path):
    (tmp_path / "yolo").mkdir()
    with pytest.raises(DataError, match="exists, perhaps with corrections"):
        export_annotations([], tmp_path / "yolo", "yolo", CLASSES)

    def broken():
        yield from images(tmp_path, {"a": smooth()})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        export_annotations(broken(), tmp_path / "labelme", "labelme", CLASSES)
    assert {path.name for path in tmp_path.iterdir()} == {"yolo", "photos"}
