"""Annotations of any kind as a json beside each image, and back through the dataset."""

import contextlib
import io
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from samplug.converters import Selection, read_annotations, to_masks, to_sa1b
from samplug.datasets import DataError, SA1BDataset
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.converters.test_to_masks import HEIGHT, SQUARE, WIDTH, box, coco_json, labelme_json, write_image
from tests.processes import run_python


def masks(folder, index=0):
    info = SA1BDataset(str(folder), "images", "images").get_data_info(index)
    return [coco_mask.decode(one["mask"]) * np.uint8(255) for one in info["instances"]]


def label_maps(root, maps, suffix=".png"):
    for name, values in maps.items():
        write_image(root / "images" / f"{name}.jpg", *values.shape)
        (root / "maps" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "maps" / f"{name}{suffix}"), values)
    return root / "maps"


def test_coco(tmp_path):
    crowd = dict(counts=[0, 10, HEIGHT * WIDTH - 10], size=[HEIGHT, WIDTH])
    thin = [[2, 1, 2.1, 1, 2.1, 1.1, 2, 1.1]]  # covers no pixel
    entries = [
        (1, [SQUARE], {}),
        (1, crowd, dict(iscrowd=1)),
        (7, [[10, 10, 14, 10, 14, 12, 10, 12]], {}),
        (7, thin, {}),
    ]
    source = coco_json(tmp_path / "in", entries, images=("a.jpg", "x/b.jpg"))
    summary = to_sa1b(read_annotations(source), tmp_path / "out")
    content = json.loads((tmp_path / "out/images/a.json").read_text())
    assert content["image"] == dict(image_id=1, file_name="a.jpg", width=WIDTH, height=HEIGHT)
    assert [(one["id"], one["bbox"], one["area"], one["category"]) for one in content["annotations"]] == [
        (1, [2, 1, 4, 3], 12, "cat"),
        (2, [10, 10, 4, 2], 8, "dog"),
    ]
    np.testing.assert_array_equal(masks(tmp_path / "out"), [box(1, 2, 4, 6), box(10, 10, 12, 14)])
    assert json.loads((tmp_path / "out/images/x/b.json").read_text())["annotations"] == []
    assert summary == json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["images"], summary["objects"], summary["objects_without_pixels"]) == (2, 2, 1)
    assert (summary["categories"], summary["images_without_objects"]) == (dict(cat=1, dog=1), ["x/b.jpg"])


def test_chosen_classes_and_crowds(tmp_path):
    crowd = dict(counts=[0, 10, HEIGHT * WIDTH - 10], size=[HEIGHT, WIDTH])
    source = coco_json(tmp_path, [(1, crowd, dict(iscrowd=1)), (7, [SQUARE], {})])
    selection = Selection(["cat"], crowd="foreground")
    assert to_sa1b(read_annotations(source), tmp_path / "out", selection)["categories"] == dict(cat=1)


def test_real_coco_equals_its_api(test_data, tmp_path):
    path = test_data / "data" / "coco_mini" / "annotations" / "instances_train2017.json"
    to_sa1b(read_annotations(path), tmp_path, link="symlink")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    dataset = SA1BDataset(str(tmp_path), "images", "images", check="all")
    by_name = {image["file_name"].removesuffix(".jpg"): image["id"] for image in coco.imgs.values()}
    assert len(dataset) == len(by_name) == 80
    for index in range(80):
        info = dataset.get_data_info(index)
        expected = [coco.annToMask(one) for one in coco.imgToAnns[by_name[info["img_id"]]] if not one["iscrowd"]]
        found = [coco_mask.decode(one["mask"]) for one in info["instances"]]
        np.testing.assert_array_equal(found, expected)


def test_real_class_maps(test_data, tmp_path):
    """Parts of ADE20K's classes: every pixel but those of 0 is in exactly one."""
    root = test_data / "data" / "ade20k_sample" / "ADEChallengeData2016"
    maps = root / "annotations" / "validation"
    to_sa1b(
        read_annotations(maps, "label-maps", root / "images" / "validation"), tmp_path, split_parts=True, link="symlink"
    )
    for index, path in enumerate(sorted(maps.iterdir())):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        parts = np.array(masks(tmp_path, index)) > 0
        np.testing.assert_array_equal(parts.sum(0), labels > 0)
        for part in parts:
            assert len(np.unique(labels[part])) == 1
            assert cv2.connectedComponents(part.astype(np.uint8))[0] == 2


def test_label_maps(tmp_path):
    labels = box(1, 2, 4, 6, 9) + box(6, 10, 8, 14, 40)
    parts = box(1, 2, 4, 6, 9) + box(10, 20, 15, 29, 9)
    source = label_maps(tmp_path, {"a": labels, "x/b": parts})
    annotations = read_annotations(source, "label-maps", tmp_path / "images")
    assert to_sa1b(annotations, tmp_path / "out")["categories"] == {"40": 1, "9": 2}
    np.testing.assert_array_equal(masks(tmp_path / "out"), [box(1, 2, 4, 6), box(6, 10, 8, 14)])
    np.testing.assert_array_equal(masks_recursive(tmp_path / "out", 1), [box(1, 2, 4, 6) + box(10, 20, 15, 29)])
    summary = to_sa1b(annotations, tmp_path / "parts", split_parts=True)
    assert summary["objects"] == 4
    np.testing.assert_array_equal(masks_recursive(tmp_path / "parts", 1), [box(1, 2, 4, 6), box(10, 20, 15, 29)])


def test_label_maps_as_binary_masks(tmp_path):
    source = label_maps(tmp_path, {"a": box(1, 2, 4, 6, 9) + box(6, 10, 8, 14, 40)})
    to_masks(read_annotations(source, "label-maps", tmp_path / "images"), tmp_path / "out", Selection(["40"]))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out/masks/a.png"), 0), box(6, 10, 8, 14))


def masks_recursive(folder, index):
    info = SA1BDataset(str(folder), "images", "images", recursive=True).get_data_info(index)
    return [coco_mask.decode(one["mask"]) * np.uint8(255) for one in info["instances"]]


def test_instance_masks(tmp_path):
    for image in "ab":
        write_image(tmp_path / "images" / f"{image}.jpg")
    objects = {"a/0": box(1, 2, 4, 6), "a/1": box(2, 3, 8, 9), "a/2": box(0, 0, 0, 0), "b/0": box(5, 5, 6, 6)}
    source = label_maps(tmp_path / "in", objects)
    annotations = read_annotations(source, "instance-masks", tmp_path / "images")
    summary = to_sa1b(annotations, tmp_path / "out")
    assert (summary["objects"], summary["objects_without_pixels"], summary["categories"]) == (3, 1, dict(object=3))
    # They overlap, and 1 is as good as 255, if all masks agree.
    np.testing.assert_array_equal(masks(tmp_path / "out"), [objects["a/0"], objects["a/1"]])
    ones = label_maps(tmp_path / "ones", {name: mask // 255 for name, mask in objects.items()})
    to_sa1b(read_annotations(ones, "instance-masks", tmp_path / "images"), tmp_path / "again")
    np.testing.assert_array_equal(masks(tmp_path / "again"), masks(tmp_path / "out"))


def test_problems_of_pictures_are_listed_and_nothing_is_written(tmp_path):
    colours = np.dstack([box(1, 2, 4, 6), box(2, 2, 4, 6), box(3, 3, 4, 4)])
    source = label_maps(tmp_path, {name: box(1, 2, 4, 6, 9) for name in ("a", "b", "c", "d", "e")})
    write_image(tmp_path / "images" / "a.jpg", HEIGHT + 1)
    (source / "b.png").write_bytes(b"")
    (source / "c.png").unlink()
    cv2.imwrite(str(source / "d.png"), colours)
    cv2.imwrite(str(source / "z.png"), colours)
    annotations = read_annotations(source, "label-maps", tmp_path / "images")
    with pytest.raises(DataError) as caught:
        to_sa1b(annotations, tmp_path / "out")
    for part in (
        "to-sa1b: 5 problems in",
        "a.jpg: is 30x21 (width x height), its annotation is for 30x20",
        "b.jpg: has an annotation that cannot be used:",
        "c.jpg: has no label map of the same name",
        "d.png contains colours",
        "z.png: has no image of the same name",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()
    summary = to_sa1b(annotations, tmp_path / "out", skip_problems=True)
    assert sorted(path.name for path in (tmp_path / "out/images").iterdir()) == ["e.jpg", "e.json"]
    assert len(summary["problems"]) == 5


def test_unknown_choices(tmp_path):
    """Nothing is done in place of what was asked for."""
    with pytest.raises(ConfigError, match="crowd='skpi' is unknown: use one of ignore, foreground, skip"):
        Selection(crowd="skpi")
    annotations = read_annotations(coco_json(tmp_path / "in", [(1, [SQUARE], {})]))
    for convert in (to_masks, to_sa1b):
        with pytest.raises(ConfigError, match="link='hardlink' is unknown: use one of copy, symlink, none"):
            convert(annotations, tmp_path / "out", link="hardlink")
    assert not (tmp_path / "out").exists()


def test_shapes_of_a_group_are_one_object(tmp_path):
    """An object that something stands in front of is drawn in parts."""
    corners = [[[1, 1], [3, 3]], [[8, 1], [9, 2]], [[1, 8], [2, 9]], [[8, 8], [9, 9]], [[12, 8], [13, 9]]]
    labels, groups = ["cat", "dog", "cat", "cat", "cat"], [1, 1, 1, None, None]
    shapes = [
        dict(label=label, points=points, group_id=group, shape_type="rectangle")
        for label, points, group in zip(labels, corners, groups, strict=True)
    ]
    write_image(tmp_path / "in/a.jpg")
    labelme_json(tmp_path / "in/a.json", shapes)
    to_sa1b(read_annotations(tmp_path / "in"), tmp_path / "out")
    whole = np.maximum(box(1, 1, 4, 4), box(8, 1, 10, 3))
    expected = [whole, box(1, 8, 3, 10), box(8, 8, 10, 10), box(8, 12, 10, 14)]
    np.testing.assert_array_equal(masks(tmp_path / "out"), expected)

    shapes[2]["points"] = [[1, 1]]
    labelme_json(tmp_path / "in/a.json", shapes)
    with pytest.raises(DataError, match=r"shapes 0, 2 of a\.json \('cat'\) is a rectangle of 1 points"):
        to_sa1b(read_annotations(tmp_path / "in"), tmp_path / "again")


def test_an_image_that_is_annotated_twice(tmp_path):
    source = coco_json(tmp_path / "in", [(1, [SQUARE], {})], images=("a.jpg", "a.jpg"))
    with pytest.raises(DataError, match=r"a\.jpg: is annotated twice: put all its objects into one entry"):
        to_sa1b(read_annotations(source), tmp_path / "out")


def test_pictures_need_the_folder_of_images(tmp_path):
    source = label_maps(tmp_path, {"a": box(1, 2, 4, 6)})
    for format in ("label-maps", "instance-masks"):
        with pytest.raises(ConfigError, match=f"{format} do not name their images.*--images"):
            read_annotations(source, format)
    with pytest.raises(DataError, match="--format label-maps or instance-masks"):
        read_annotations(source)


def test_earlier_results(tmp_path):
    source = coco_json(tmp_path / "in", [(1, [SQUARE], {})])
    to_sa1b(read_annotations(source), tmp_path / "out")
    with pytest.raises(DataError, match=r"3 of the files to write exist.*--overwrite"):
        to_sa1b(read_annotations(source), tmp_path / "out")
    to_sa1b(read_annotations(source), tmp_path / "out", overwrite=True)
    (tmp_path / "out/images/old.json").write_text("{}")
    with pytest.raises(DataError, match=r"contains 1 files that this run would not write.*old\.json"):
        to_sa1b(read_annotations(source), tmp_path / "out", overwrite=True)


def test_json_beside_images_that_stay_where_they_are(tmp_path):
    source = label_maps(tmp_path, {"a": box(1, 2, 4, 6)})
    annotations = read_annotations(source, "label-maps", tmp_path / "images")
    with pytest.raises(DataError, match="is part of the source"):
        to_sa1b(annotations, tmp_path, overwrite=True)
    to_sa1b(annotations, tmp_path, link="none")
    assert len(masks(tmp_path)) == 1


def test_command(tmp_path):
    source = coco_json(tmp_path, [(1, [[*SQUARE], [10, 10, 14, 10, 14, 12, 10, 12]], {})])

    def run(*arguments):
        return run_python("tools/prepare_data.py", "to-sa1b", *arguments, cwd=ROOT)

    first = ["tools/prepare_data.py", "to-sa1b", source, tmp_path / "out", "--components", "--link", "symlink"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *first], cwd=ROOT, env=environment, capture_output=True, text=True)
    folder = tmp_path / "out/images"
    assert done.stdout == f"2 objects of 1 images in {folder}\nits data_root: {folder}\n"
    assert len(SA1BDataset(data_root=str(folder))) == 1
    assert (tmp_path / "out/images/a.jpg").is_symlink()
    (tmp_path / "maps").mkdir()
    cv2.imwrite(str(tmp_path / "maps/a.png"), np.where(masks(tmp_path / "out")[0], 3, 255).astype(np.uint8))
    done = run(tmp_path / "maps", tmp_path / "out2", "--format", "label-maps", "--images", folder)
    assert "values and their objects: 3 (1), 255 (1); --classes" in done.stdout
    failed = run(source, tmp_path / "out")
    assert (failed.returncode, failed.stderr.startswith("error: to-sa1b: 3 of the files to write exist")) == (1, True)
