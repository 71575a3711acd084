"""Annotations of other tools as masks: every format's pixels, and what stops the command."""

import base64
import contextlib
import io
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from samplug.converters import Selection, read_annotations, to_masks
from samplug.datasets import BinarySegDataset, DataError
from samplug.imaging.encodings import runs_from_string
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT

HEIGHT, WIDTH = 20, 30
SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]


def write_image(path, height=HEIGHT, width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    return path


def box(top, left, bottom, right, value=255):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = value
    return mask


def read(folder, name="a.png"):
    mask = cv2.imread(str(folder / "masks" / name), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8
    return mask


def convert(source, destination, images=None, format="auto", classes=None, ignore=(), crowd="ignore", **kwargs):
    return to_masks(read_annotations(source, format, images), destination, Selection(classes, ignore, crowd), **kwargs)


def coco_json(folder, annotations, images=("a.jpg",), **first_image):
    """A COCO json and its images; annotations are (category id, segmentation, further keys)."""
    entries = [dict(id=i, file_name=name, height=HEIGHT, width=WIDTH) for i, name in enumerate(images)]
    for name in images:
        if not (folder / name).exists():
            write_image(folder / name)
    entries[0].update(first_image)
    listed = [
        dict(id=100 + i, image_id=0, category_id=category, segmentation=segmentation, **more)
        for i, (category, segmentation, more) in enumerate(annotations)
    ]
    categories = [dict(id=1, name="cat"), dict(id=7, name="dog")]
    path = folder / "instances.json"
    path.write_text(json.dumps(dict(images=entries, annotations=listed, categories=categories)))
    return path


def labelme_json(path, shapes, image="a.jpg", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(shapes=shapes, imagePath=image, imageData=None, imageHeight=HEIGHT, imageWidth=WIDTH, **more)
    path.write_text(json.dumps(content))
    return path


def shape(points, kind="polygon", label="cat", **more):
    return dict(label=label, points=points, shape_type=kind, **more)


def yolo_folder(folder, labels, names=("cat", "dog"), images=("a.jpg",)):
    for name in images:
        write_image(folder / "images" / name)
    (folder / "labels").mkdir()
    for name, text in labels.items():
        (folder / "labels" / name).write_text(text)
    if names:
        (folder / "data.yaml").write_text(f"names: {list(names)}\n")
    return folder


def png_base64(pixels):
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


# COCO


def test_coco_segmentations_of_every_kind(tmp_path):
    blob = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    blob[10:15, 20:29] = 1
    compressed = coco_mask.encode(blob)["counts"].decode()
    runs = [0, 2, HEIGHT * WIDTH - 2]  # the first two pixels of the first column
    segmentations = [[SQUARE, [10, 10, 14, 10, 14, 12, 10, 12]], dict(counts=compressed, size=[HEIGHT, WIDTH]),
                     dict(counts=runs, size=[HEIGHT, WIDTH])]  # fmt: skip
    summary = convert(coco_json(tmp_path, [(1, s, {}) for s in segmentations]), tmp_path / "out")
    expected = box(1, 2, 4, 6) | box(10, 10, 12, 14) | box(10, 20, 15, 29) | box(0, 0, 2, 1)
    np.testing.assert_array_equal(read(tmp_path / "out"), expected)
    assert summary["classes"]["cat"] == dict(
        images=1, foreground_regions=3, ignored_regions=0, regions_without_pixels=0
    )
    assert summary["mask_values"] == "0/255"
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def test_compressed_code_is_decoded_as_pycocotools_does():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.98):
        pixels = np.asfortranarray(rng.random((67, 211)) < share, np.uint8)
        runs = runs_from_string(coco_mask.encode(pixels)["counts"].decode())
        np.testing.assert_array_equal(np.repeat(np.arange(len(runs)) % 2, runs).reshape(67, 211, order="F"), pixels)


def test_real_coco_equals_its_api(test_data, tmp_path):
    path = test_data / "data" / "coco_mini" / "annotations" / "instances_train2017.json"
    convert(path, tmp_path, link="none")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert len(coco.imgs) == 80
    for image in coco.imgs.values():
        expected = np.zeros((image["height"], image["width"]), np.uint8)
        for entry in sorted(coco.imgToAnns[image["id"]], key=lambda entry: -entry["iscrowd"]):
            expected[coco.annToMask(entry) > 0] = 127 if entry["iscrowd"] else 255
        np.testing.assert_array_equal(read(tmp_path, image["file_name"].replace(".jpg", ".png")), expected)


@pytest.mark.parametrize(("crowd", "value"), [("ignore", 127), ("foreground", 255), ("skip", 0)])
def test_crowd(tmp_path, crowd, value):
    runs = dict(counts=[0, 10 * HEIGHT, 20 * HEIGHT], size=[HEIGHT, WIDTH])
    # The crowd comes last, and still does not cover the object.
    source = coco_json(tmp_path, [(1, [SQUARE], {}), (1, runs, dict(iscrowd=1))])
    summary = convert(source, tmp_path / "out", crowd=crowd)
    np.testing.assert_array_equal(read(tmp_path / "out"), np.maximum(box(1, 2, 4, 6), box(0, 0, HEIGHT, 10, value)))
    if crowd == "ignore":
        assert summary["mask_values"] == dict(foreground=[255], background=[0], ignore=[127])
        assert summary["ignored_pixels"] == 10 * HEIGHT - 12
    else:
        assert (summary["mask_values"], summary["ignored_pixels"]) == ("0/255", 0)


def test_chosen_and_ignored_classes(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {}), (7, [[10, 10, 14, 10, 14, 12, 10, 12]], {})])
    convert(source, tmp_path / "cats", classes=["cat"])
    np.testing.assert_array_equal(read(tmp_path / "cats"), box(1, 2, 4, 6))
    convert(source, tmp_path / "unsure", ignore=["dog"])
    np.testing.assert_array_equal(read(tmp_path / "unsure"), box(1, 2, 4, 6) | box(10, 10, 12, 14, 127))
    with pytest.raises(ConfigError, match="no class is called cow; known classes: cat, dog"):
        convert(source, tmp_path / "none", classes=["cow"])
    with pytest.raises(ConfigError, match="cat cannot be foreground and ignored"):
        convert(source, tmp_path / "none", classes=["cat"], ignore=["cat"])


def test_a_broken_object_of_a_class_that_is_not_drawn_does_no_harm(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {}), (7, [[1, 1, 2, 2]], {})])
    assert convert(source, tmp_path / "out", classes=["cat"])["problems"] == []


def test_folders_of_file_names_are_kept(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})], images=("x/a.jpg", "y\\a.jpg", "y/b.c.jpg"))
    write_image(tmp_path / "y" / "a.jpg")
    summary = convert(source, tmp_path / "out")
    assert read(tmp_path / "out", "x/a.png").any()
    assert not read(tmp_path / "out", "y/a.png").any()
    assert summary["images_without_regions"] == ["y/a.jpg", "y/b.c.jpg"]
    assert (tmp_path / "out" / "images" / "y" / "b.c.jpg").is_file()
    assert read(tmp_path / "out", "y/b.c.png").shape == (HEIGHT, WIDTH)


def test_images_are_found_by_the_name_of_the_json(tmp_path):
    write_image(tmp_path / "train2017" / "a.jpg")
    source = coco_json(tmp_path / "train2017", [(1, [SQUARE], {})])
    (tmp_path / "annotations").mkdir()
    source = source.rename(tmp_path / "annotations" / "instances_train2017.json")
    assert convert(source, tmp_path / "out")["images"] == 1
    moved = (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"a\.jpg.*name their folder with --images"):
        convert(source, tmp_path / "again")
    assert convert(source, tmp_path / "again", images=moved)["images"] == 1


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "empty segmentation"),
        (None, "empty segmentation"),
        ([[]], "outline of 0 points"),
        ([[1, 1, 5, 5]], "a box or a line"),
        ([[1, 1, 5, 5, 1]], r"odd number of coordinates \(5\)"),
        ([SQUARE, [1, 1]], "outline of 1 points"),
        ([[1, 1, 5, 5, float("nan"), 5]], r"x=nan, y=5, far outside the image of 30x20"),
        ([[1, 1, 34, 5, 1, 5]], "x=34, y=5, far outside"),
        ([[1, "1", 5, 5, 1, 5]], "not a list of numbers"),
        (dict(counts=[1, 2], size=[HEIGHT, WIDTH]), "run lengths for 3 pixels, the image has 600"),
        (dict(counts=[-1, 601], size=[HEIGHT, WIDTH]), "integers of at least 0"),
        (dict(counts=[600], size=[WIDTH, HEIGHT]), r"size \(height, width\) of \[30, 20\], the image has \[20, 30\]"),
        (dict(counts="11", size=[HEIGHT, WIDTH]), "run lengths for 2 pixels"),
        (dict(counts="é", size=[HEIGHT, WIDTH]), "'é' does not belong"),
        (dict(counts="o", size=[HEIGHT, WIDTH]), "ends within a number"),
        (dict(size=[HEIGHT, WIDTH]), "counts is None"),
    ],
)
def test_segmentations_that_are_none(tmp_path, segmentation, message):
    source = coco_json(tmp_path, [(1, [SQUARE], {}), (1, segmentation, {})])
    with pytest.raises(DataError, match=rf"(?s)1 problems .*a\.jpg: annotation 101 has .*{message}"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_points_a_little_outside_are_cut_off(tmp_path):
    source = coco_json(tmp_path, [(1, [[28, -1, 32, -1, 32, 2, 28, 2]], {})])
    convert(source, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), box(0, 28, 2, 30))


def broken_coco(folder):
    """Images a to e; a and b are sound, c to e and three entries are not."""
    source = coco_json(folder, [(1, [SQUARE], {})], images=[f"{name}.jpg" for name in "abcde"])
    content = json.loads(source.read_text())
    content["images"][2]["width"] = 31
    (folder / "d.jpg").unlink()
    content["images"] += [dict(id=9, file_name="../a.jpg"), dict(id=10, file_name="b.png"), dict(file_name="a.jpg")]
    write_image(folder / "b.png")
    content["images"].append(dict(id=11, file_name="f.jpg"))
    write_image(folder / "f.jpg")
    entry = dict(category_id=1, segmentation=[SQUARE])
    content["annotations"] += [dict(entry, id=1, image_id=77), dict(entry, id=2, image_id=4, category_id=5)]
    source.write_text(json.dumps(content))
    return source


def test_all_problems_are_listed_and_nothing_is_written(tmp_path):
    with pytest.raises(DataError) as caught:
        convert(broken_coco(tmp_path), tmp_path / "out")
    text = str(caught.value)
    for part in (
        "8 problems in",
        "images[5]: has the file_name '../a.jpg'",
        "images[7]: has the id None",
        "annotation 1: has the unknown image_id 77",
        "c.jpg: is 30x20 (width x height), its annotation is for 31x20",
        "d.jpg: does not exist",
        "e.jpg: annotation 2 has the unknown category_id 5",
        f"b.jpg: differs only in its suffix from {tmp_path / 'b.png'}",
        f"b.png: differs only in its suffix from {tmp_path / 'b.jpg'}",
        "--on-error skip",
    ):
        assert part in text
    assert not (tmp_path / "out").exists()


def test_skip_leaves_out_images_with_problems(tmp_path):
    summary = convert(broken_coco(tmp_path), tmp_path / "out", skip_problems=True)
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == ["a.png", "f.png"]
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["a.jpg", "f.jpg"]
    assert (summary["images"], summary["images_left_out"], len(summary["problems"])) == (2, 5, 8)
    problems = {problem["where"]: problem["what"] for problem in summary["problems"]}
    assert problems[str(tmp_path / "d.jpg")].startswith("does not exist")


def test_skip_with_nothing_left_stops(tmp_path):
    source = coco_json(tmp_path, [(1, [], {})])
    with pytest.raises(
        DataError, match=r"(?s)none of the 1 images of .* can be used.*a\.jpg: annotation 100 has an empty"
    ):
        convert(source, tmp_path / "out", skip_problems=True)


def test_two_images_of_one_id_are_both_left_out(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})], images=("a.jpg", "b.jpg", "c.jpg"))
    source.write_text(source.read_text().replace('"id": 1, "file_name"', '"id": 0, "file_name"'))
    summary = convert(source, tmp_path / "out", skip_problems=True)
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["c.png"]
    assert len(summary["problems"]) == 2


def test_masks_have_the_size_after_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    Image.new("RGB", (HEIGHT, WIDTH), (9, 99, 9)).save(tmp_path / "a.jpg", exif=exif)
    convert(coco_json(tmp_path, [(1, [SQUARE], {})]), tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), box(1, 2, 4, 6))
    source = coco_json(tmp_path, [(1, [SQUARE], {})], height=WIDTH, width=HEIGHT)
    with pytest.raises(
        DataError, match=r"is 30x20 \(width x height\), its annotation is for 20x30; the sides are swapped"
    ):
        convert(source, tmp_path / "again")


# labelme


def test_labelme_shapes_as_labelme_draws_them(tmp_path):
    write_image(tmp_path / "a.jpg")
    corner = shape([[5.9, 3.2], [2.1, 1.7]], "rectangle")  # from the lower right corner
    triangle = shape([[10, 10], [14, 10], [10, 14]])
    disc = shape([[22, 10], [22, 12]], "circle")
    bitmap = shape([[0, 15], [2.8, 16.2]], "mask", mask=png_base64(np.array([[1, 0, 1], [0, 1, 0]], np.uint8)))
    labelme_json(tmp_path / "a.json", [corner, triangle, disc, bitmap])
    convert(tmp_path, tmp_path / "out")
    expected = box(1, 2, 4, 6)  # outline and last pixel included
    for row in range(5):
        expected[10 + row, 10 : 15 - row] = 255
    expected[15, [0, 2]] = expected[16, 1] = 255
    for row, half in zip(range(8, 13), (1, 2, 2, 2, 1), strict=True):
        expected[row, 22 - half : 23 + half] = 255
    np.testing.assert_array_equal(read(tmp_path / "out"), expected)


def test_labelme_without_shape_type_and_in_subfolders(tmp_path):
    write_image(tmp_path / "pictures" / "b.jpg")
    entry = shape([[2, 1], [5, 1], [5, 3], [2, 3]])
    del entry["shape_type"]
    labelme_json(tmp_path / "json" / "deep" / "other.json", [entry], image="..\\..\\pictures\\b.jpg")
    convert(tmp_path / "json", tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out", "deep/b.png"), box(1, 2, 4, 6))
    assert (tmp_path / "out" / "images" / "deep" / "b.jpg").is_file()


def test_labelme_embedded_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    path = labelme_json(tmp_path / "in" / "a.json", [shape([[2, 1], [5, 3]], "rectangle")], image="a.png")
    path.write_text(path.read_text().replace('"imageData": null', f'"imageData": "{png_base64(pixels)}"'))
    with pytest.raises(DataError, match=r"embedded in their JSON files.*a\.json: --link none"):
        convert(tmp_path / "in", tmp_path / "out", link="none")
    convert(tmp_path / "in", tmp_path / "out", link="symlink")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / "images" / "a.png")), pixels)
    path.write_text(path.read_text().replace('"imageData": "', '"imageData": "AAAA'))
    with pytest.raises(DataError, match="embeds imageData that is not an image"):
        convert(tmp_path / "in", tmp_path / "again")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (shape([[1, 1], [2, 2]], "line"), r"shape 0 of a\.json \('cat'\) is a 'line'"),
        (shape([[1, 1]], "point"), "is a 'point'"),
        (shape([[1, 1], [2, 2], [3, 1]], "linestrip"), "is a 'linestrip'"),
        (shape([[1, 1], [2, 2]]), "polygon of 2 points: it needs 3"),
        (shape([[1, 1]], "circle"), "circle of 1 points: it needs 2"),
        (shape([[1, 1], [2], [3, 1]]), r"not a list of \[x, y\]"),
        (shape([[1, 1], [2, 99], [3, 1]]), "x=2, y=99, far outside"),
        (shape([[1, 1], [2, 2]], "mask", mask="AAAA"), "not an image in base64"),
        (shape([[1, 1], [3, 2]], "mask", mask=png_base64(np.ones((2, 2), np.uint8))), "2x2 pixels in a box of 3x2"),
        (shape([[-1, 1], [0, 2]], "mask", mask=png_base64(np.ones((2, 2), np.uint8))), "not inside the image"),
        (shape([[1, 1], [5, 1], [5, 5]], label="_background_"), "is a hole"),
        (dict(points=[]), "lacks a label"),
    ],
)
def test_labelme_shapes_that_are_none(tmp_path, entry, message):
    write_image(tmp_path / "a.jpg")
    labelme_json(tmp_path / "a.json", [entry])
    with pytest.raises(DataError, match=rf"a\.jpg: .*{message}"):
        convert(tmp_path, tmp_path / "out")


def test_labelme_ignore_label_is_not_foreground(tmp_path):
    write_image(tmp_path / "a.jpg")
    labelme_json(tmp_path / "a.json", [shape([[2, 1], [5, 3]], "rectangle", label="__ignore__")])
    convert(tmp_path, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), box(1, 2, 4, 6, 127))


def test_labelme_files_that_are_none(tmp_path):
    for name, text in (("a", "{"), ("b", "[]"), ("c", "<html>"), ("e", '{"annotations": []}')):
        (tmp_path / f"{name}.json").write_text(text)
    labelme_json(tmp_path / "d.json", [], image="gone.jpg")
    with pytest.raises(DataError) as caught:
        convert(tmp_path, tmp_path / "out")
    for part in (
        "a.json",
        "b.json: is not labelme JSON",
        "it starts with b'<html>'",
        "has no imageData either",
        "e.json: is not labelme JSON: it lacks shapes or imagePath; it looks like COCO JSON",
    ):
        assert part in str(caught.value)


# YOLO


def test_yolo_equals_coco(tmp_path):
    line = "1 " + " ".join(f"{value / (HEIGHT if i % 2 else WIDTH):.6f}" for i, value in enumerate(SQUARE))
    source = yolo_folder(tmp_path / "in", {"a.txt": f"\n{line}\n", "b.txt": ""}, images=("a.jpg", "b.jpg", "sub/c.jpg"))
    summary = convert(source, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), box(1, 2, 4, 6))
    assert summary["images_without_regions"] == ["b.jpg", "sub/c.jpg"]
    assert list(summary["classes"]) == ["dog"]
    assert convert(source, tmp_path / "cats", classes=["cat"])["images_without_regions"][0] == "a.jpg"


def test_yolo_splits_of_a_data_yaml(tmp_path):
    for split in ("train", "valid"):
        write_image(tmp_path / split / "images" / "a.jpg")
        (tmp_path / split / "labels").mkdir()
    (tmp_path / "valid" / "labels" / "a.txt").write_text("0 0 0 1 0 1 1 0 1\n")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: valid/images\nnames: {0: cat}\n")
    for index, source in enumerate((tmp_path, tmp_path / "data.yaml")):
        convert(source, tmp_path / f"out{index}")
        assert not read(tmp_path / f"out{index}", "train/a.png").any()
        assert (read(tmp_path / f"out{index}", "val/a.png") == 255).all()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": "0 0.5 0.5 0.2 0.2"}, r"a\.jpg: line 1 of a\.txt has 4 numbers for an outline: a box"),
        ({"a.txt": "0 0 0 1 0 1"}, "odd number"),
        ({"a.txt": "0 0 0 1 0 1 1.2"}, r"coordinate 1\.2: normalised"),
        ({"a.txt": "0 0 0 1 0 nan 1"}, "coordinate nan"),
        ({"a.txt": "0 0 0 1 0 1 1\n2 0 0 1 0 1 1"}, r"line 2 of a\.txt has the unknown class 2; known are 0 to 1"),
        ({"a.txt": "0.5 0 0 1 0 1 1"}, r"unknown class 0\.5"),
        ({"a.txt": "cat 0 0 1 0 1 1"}, "something other than numbers"),
        ({"b.txt": ""}, r"b\.txt: has no image of its name in .*images"),
    ],
)
def test_yolo_labels_that_are_none(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        convert(yolo_folder(tmp_path / "in", files), tmp_path / "out")


def test_yolo_names_from_classes_txt_or_numbers(tmp_path):
    source = yolo_folder(tmp_path / "in", {"a.txt": "3 0 0 1 0 1 1"}, names=None)
    assert list(convert(source, tmp_path / "out")["classes"]) == ["3"]
    (source / "labels" / "classes.txt").write_text("a\nb\nc\nd\n")
    assert list(convert(source, tmp_path / "named")["classes"]) == ["d"]


# Source and destination


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither a COCO JSON file, nor"),
        ({"labels/a.txt": "", "data.yaml": "names: 3"}, "names is 3"),
        ({"labels/a.txt": "", "data.yaml": "a: [b"}, "cannot be read as yaml"),
        ({"labels/a.txt": ""}, "no images/, and no data.yaml"),
        ({"data.yaml": "train: images/train"}, "train names .*images.train, which is not a folder"),
    ],
)
def test_sources_that_are_none(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path)


def test_json_that_is_no_coco(tmp_path):
    path = labelme_json(tmp_path / "a.json", [])
    with pytest.raises(DataError, match="no list of images"):
        read_annotations(path)
    with pytest.raises(DataError, match="not a folder of JSON files, as labelme"):
        read_annotations(path, "labelme")
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_annotations(tmp_path / "nowhere")


def test_existing_files_stay_unless_told(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})])
    old = write_image(tmp_path / "out" / "masks" / "a.png", 5, 5)
    with pytest.raises(DataError, match=r"1 of the files to write exist.*a\.png.*--overwrite"):
        convert(source, tmp_path / "out", skip_problems=True)
    assert cv2.imread(str(old)).shape[:2] == (5, 5)
    assert not (tmp_path / "out" / "images").exists()
    convert(source, tmp_path / "out", overwrite=True)
    assert read(tmp_path / "out").shape == (HEIGHT, WIDTH)
    write_image(tmp_path / "out" / "masks" / "older.png")
    with pytest.raises(DataError, match=r"would not write.*older\.png"):
        convert(source, tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("link", ["copy", "symlink"])
def test_the_source_is_never_replaced(tmp_path, link):
    source = yolo_folder(tmp_path, {"a.txt": "0 0 0 1 0 1 1"})
    before = (tmp_path / "images" / "a.jpg").read_bytes()
    with pytest.raises(DataError, match=r"a\.jpg is part of the source.*--link none"):
        convert(source, tmp_path, link=link, overwrite=True)
    convert(source, tmp_path, link="none")
    image = tmp_path / "images" / "a.jpg"
    assert image.read_bytes() == before
    assert not image.is_symlink()
    assert read(tmp_path).any()


def test_the_json_is_never_replaced(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})])
    source = source.rename(tmp_path / "summary.json")
    with pytest.raises(DataError, match=r"summary\.json is part of the source"):
        convert(source, tmp_path, overwrite=True)


def test_nothing_half_written_has_its_name(tmp_path, monkeypatch):
    source = coco_json(tmp_path, [(1, [SQUARE], {})])

    def full(old, new):
        assert str(old).endswith(".partial")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"a\.png cannot be written: No space left"):
        convert(source, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_the_result_is_a_dataset(tmp_path):
    convert(coco_json(tmp_path, [(1, [SQUARE], {})], images=("a.jpg", "b.jpg")), tmp_path / "out")
    pipeline = [dict(type="LoadImage"), dict(type="LoadBinaryMask"), dict(type="mmseg.PackSegInputs")]
    dataset = BinarySegDataset(data_root=str(tmp_path / "out"), pipeline=pipeline)
    assert [int(sample["data_samples"].gt_sem_seg.data.sum()) for sample in dataset] == [12, 0]


def command(*arguments):
    arguments = [sys.executable, "tools/prepare_data.py", "to-masks", *map(str, arguments)]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


def test_command(tmp_path):
    source = coco_json(tmp_path, [(7, [SQUARE], {})], images=("a.jpg", "b.jpg"))
    done = command(source, tmp_path / "out", "--link", "symlink", "--ignore-classes", "dog")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 masks in" in done.stdout
    assert "1 of them are empty" in done.stdout
    assert "12 pixels" in done.stdout
    assert "mask_values=dict(foreground=[255], background=[0], ignore=[127])" in done.stdout
    assert (tmp_path / "out" / "images" / "b.jpg").readlink() == tmp_path / "b.jpg"
    failed = command(source, tmp_path / "again", "--classes", "cow")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: annotations: no class is called cow")
