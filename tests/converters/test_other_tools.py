"""YOLO labels, label maps and exports as other tools and systems write them."""

import json
import os
import shutil
import unicodedata

import cv2
import numpy as np
import pytest

from samplug.commands.run import main
from samplug.converters import (
    LabelledImage,
    export_annotations,
    read_annotations,
    to_masks,
    to_sa1b,
    to_videos,
)
from samplug.datasets import DataError
from samplug.utils.errors import ConfigError
from tests.converters.test_to_masks import HEIGHT, WIDTH, box, coco_json, convert, write_image, yolo_folder

HALF = "0 0 0 1 0 1 .5 0 .5\n"


# YOLO


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_files_of_windows(tmp_path, encoding):
    source = yolo_folder(tmp_path / "in", {}, names=None)
    (source / "labels" / "a.txt").write_text("1 0 0 1 0 1 1\r\n", encoding=encoding)
    (source / "classes.txt").write_text("猫\r\n狗\r\n", encoding=encoding)
    assert convert(source, tmp_path / "out", classes=["狗"])["objects"] == 1


@pytest.mark.parametrize(("name", "problem"), [("classes.txt", False), ("labels/a.txt", True), ("data.yaml", False)])
def test_text_of_another_encoding_names_its_file(tmp_path, name, problem):
    source = yolo_folder(tmp_path / "in", {"a.txt": HALF}, names=None)
    (source / name).write_bytes("names: [狗]".encode("gbk"))
    with pytest.raises(DataError, match=rf"{name} is not UTF-8 text \(byte 0xb9 at 8\): save it as UTF-8"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("image", "label"),
    [("my photo", "my%20photo"), ("my%20photo", "my photo"), ("café", unicodedata.normalize("NFD", "café"))],
)
def test_labels_of_nearly_the_same_name(tmp_path, image, label):
    source = yolo_folder(tmp_path / "in", {f"{label}.txt": HALF}, images=(f"{image}.jpg", "b.jpg"))
    summary = convert(source, tmp_path / "out")
    assert (summary["objects"], summary["images_without_regions"]) == (1, ["b.jpg"])


def test_no_image_becomes_background_because_its_label_has_another_name(tmp_path):
    source = yolo_folder(tmp_path / "in", {"IMG_1.txt": HALF, "b.txt": HALF}, images=("img_1.jpg", "b.jpg"))
    with pytest.raises(
        DataError, match=r"(?s)2 problems.*img_1\.jpg: has no label file, and 1 label files have no image"
    ):
        convert(source, tmp_path / "out")
    summary = convert(source, tmp_path / "out", skip_problems=True)
    assert (summary["images"], summary["images_left_out"], summary["images_without_regions"]) == (1, 1, [])


def pose(rng, visible):
    """A label with five keypoints that nearly fill their box."""
    x, y, w, h = *rng.uniform(0.3, 0.7, 2), *rng.uniform(0.1, 0.5, 2)
    points = rng.random((5, 2))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0) * 0.9 - 0.45
    points = points * (w, h) + (x, y)
    values = np.column_stack([points, rng.integers(0, 3, 5)]) if visible else points
    return "0 " + " ".join(f"{value:g}" for value in (x, y, w, h, *values.ravel()))


@pytest.mark.parametrize("visible", [True, False])
def test_keypoints_are_no_outlines(tmp_path, visible):
    rng = np.random.default_rng(0)
    labels = {f"{name}.txt": "\n".join(pose(rng, visible) for _ in range(4)) for name in "ab"}
    source = yolo_folder(tmp_path / "in", labels, images=("a.jpg", "b.jpg"))
    with pytest.raises(DataError, match=r"the labels of .* are YOLO-pose labels: boxes with keypoints"):
        convert(source, tmp_path / "out")


def test_keypoints_by_the_data_yaml(tmp_path):
    source = yolo_folder(tmp_path / "in", {"a.txt": HALF})
    (source / "data.yaml").write_text("kpt_shape: [17, 3]\nnames: [person]\n")
    with pytest.raises(DataError, match=r"data\.yaml: kpt_shape is \[17, 3\], so its labels are YOLO-pose"):
        convert(source, tmp_path / "out")


@pytest.mark.parametrize("points", [3, 4, 5, 8, 12])
def test_outlines_with_equal_numbers_of_points_are_outlines(tmp_path, points):
    rng = np.random.default_rng(points)
    lines = []
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, points))
        ring = rng.uniform(0.2, 0.8, 2) + rng.uniform(0.05, 0.2) * np.column_stack([np.cos(angles), np.sin(angles)])
        lines.append("0 " + " ".join(f"{value:.6f}" for value in ring.ravel()))
    source = yolo_folder(tmp_path / "in", {"a.txt": "\n".join(lines)})
    assert len(read_annotations(source).images[0].regions) == 40


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60)) + "names: *a60\n",
        "a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}\n" for i in range(60)),
        "names: &a [*a]\n",
        "names: " + "[" * 5000,
        "names: [2020-99-99]\n",
        "names: !!python/object/apply:os.system [ls]\n",
        "? [a]\n: b\n",
        "names: {0: [a, b]}\npath: 3\ntrain: \"a\\0b\"\n",
        "x" * (2**20 + 1),
    ],
)  # fmt: skip
def test_a_data_yaml_that_takes_the_machine(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml"):
        read_annotations(tmp_path)


def splits(folder):
    for name in ("a", "b"):
        write_image(folder / "images" / "train" / f"{name}.jpg")
        (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (folder / "labels" / "train" / f"{name}.txt").write_text(HALF)
    return folder


@pytest.mark.parametrize(
    ("train", "images"),
    [
        ("images/train", 2),
        ("images\\train", 2),
        ("train.txt", 1),
        ("[train.txt, images/train/b.jpg]", 2),
        ("[images/train/a.jpg]", 1),
    ],
)
def test_splits_as_data_yaml_may_name_them(tmp_path, train, images):
    source = splits(tmp_path / "in")
    (source / "data.yaml").write_text(f"path: /somewhere/else\ntrain: {train}\nnames: [cat]\n")
    (source / "train.txt").write_text("./images/train/a.jpg\n\n")
    summary = convert(source / "data.yaml", tmp_path / "out")
    assert (summary["images"], summary["objects"]) == (images, images)
    assert (tmp_path / "out" / "masks" / "train" / ("b.png" if images == 2 else "a.png")).is_file()


def test_a_list_with_paths_of_another_computer(tmp_path):
    source = splits(tmp_path / "in")
    (source / "data.yaml").write_text("train: train.txt\n")
    (source / "train.txt").write_text(
        "C:\\data\\images\\train\\a.jpg\n/data/images/train/b.jpg\n/data/images/train/gone.jpg\n"
    )
    with pytest.raises(
        DataError, match=r"1 problems in .*\n.*train\.txt, line 3: names .*gone\.jpg', which is not a file"
    ):
        convert(source / "data.yaml", tmp_path / "out")
    assert convert(source / "data.yaml", tmp_path / "out", skip_problems=True)["images"] == 2


def test_a_linked_folder_of_images(tmp_path):
    source = splits(tmp_path / "in")
    shutil.move(source / "images" / "train", tmp_path / "elsewhere")
    (source / "images" / "train").symlink_to(tmp_path / "elsewhere")
    (source / "data.yaml").write_text("train: images/train\n")
    assert convert(source / "data.yaml", tmp_path / "out")["images"] == 2
    (source / "data.yaml").write_text("train: https://example.org/train.zip\n")
    with pytest.raises(DataError, match="not a folder, a list of images or an image: download it first"):
        read_annotations(source / "data.yaml")


def test_files_of_other_systems_beside_labels(tmp_path):
    source = yolo_folder(tmp_path / "in", {"a.txt": HALF})
    for name in ("images/._a.jpg", "labels/._a.txt"):
        (source / name).write_bytes(b"\x00\x05\x16\x07")
    assert convert(source, tmp_path / "out")["objects"] == 1
    os.mkfifo(source / "labels" / "b.txt")
    write_image(source / "images" / "b.jpg")
    with pytest.raises(DataError, match=r"b\.jpg: .*b\.txt cannot be read: it is a pipe, not a file"):
        convert(source, tmp_path / "again")


# Label maps and masks of objects


def maps(root, name, values, image="a.tif"):
    write_image(root / "images" / image, *values.shape)
    (root / "maps").mkdir(exist_ok=True)
    cv2.imwrite(str(root / name), values)
    return root


def cells(number):
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values.flat[: 2 * number : 2] = np.arange(number) + 1
    return values


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("maps/a.tif", None), ("maps/a.tiff", None), ("maps/a_cp_masks.png", None), ("maps/a_masks.tif", None),
     ("images/a_cp_masks.tif", None), ("maps/a-seg.png", "-seg.png")],
)  # fmt: skip
def test_label_maps_of_cells(tmp_path, name, suffix):
    root = maps(tmp_path, name, cells(300))
    source = (root / name).parent
    annotations = read_annotations(source, "label-maps", root / "images", suffix)
    assert to_sa1b(annotations, tmp_path / "out")["objects"] == 300


def test_a_label_map_with_an_unknown_ending(tmp_path):
    root = maps(tmp_path, "maps/a-seg.png", cells(3))
    with pytest.raises(DataError, match=r"a-seg\.png: has no image .*--mask-suffix names another ending"):
        to_sa1b(read_annotations(root / "maps", "label-maps", root / "images"), tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"mask_suffix='\.png' is for label-maps and instance-masks and ade20k, not for coco"
    ):
        read_annotations(coco_json(tmp_path, []), mask_suffix=".png")


def test_endings_are_not_removed_where_names_fit(tmp_path):
    root = maps(tmp_path, "maps/a_mask.png", cells(3), "a_mask.jpg")
    maps(tmp_path, "maps/a.png", cells(3), "a.jpg")
    assert len(read_annotations(root / "maps", "label-maps", root / "images").images) == 2


def test_instance_masks_as_tiff(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    for name in "01":
        (tmp_path / "in" / "a").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / "a" / f"{name}.tif"), box(1, 2, 4, 6))
    annotations = read_annotations(tmp_path / "in", "instance-masks", tmp_path / "images")
    assert to_sa1b(annotations, tmp_path / "out")["objects"] == 2


# Messages


def test_lines_have_a_bound(tmp_path, capsys):
    maps(tmp_path, "maps/a.png", cells(250), "a.png")
    arguments = [
        str(tmp_path / "maps"),
        str(tmp_path / "out"),
        "--format",
        "label-maps",
        "--images",
        str(tmp_path / "images"),
    ]
    assert main("prepare", ["to-sa1b", *arguments]) == 0
    assert main("prepare", ["to-sa1b", *arguments, "--overwrite", "--classes", "nothing"]) == 1
    long = dict(categories=[dict(id=1, name="x" * 9000)], images=[dict(id=0, file_name="y" * 9000 + ".jpg")])
    long["annotations"] = [dict(id=["z"] * 9000, image_id=7), dict(id=0, image_id=0, category_id=1, iscrowd="w" * 9000)]
    (tmp_path / "long.json").write_text(json.dumps(long))
    for more in ([], ["--on-error", "skip"]):
        options = [str(tmp_path / "long.json"), str(tmp_path / "long"), "--images", str(tmp_path / "images"), *more]
        assert main("prepare", ["to-masks", *options]) == 1
    printed = capsys.readouterr()
    assert max(map(len, (printed.out + printed.err).splitlines())) < 1000


def test_a_conversion_of_nothing_is_a_warning_with_reasons(tmp_path, capsys):
    thin = [[2, 1, 2.1, 1, 2.1, 1.1, 2, 1.1]]
    annotations = [(1, thin, {}), (7, [[2, 1, 6, 1, 6, 4]], {}), (1, [], {})]
    source = coco_json(tmp_path, annotations, ("a.jpg", "b.jpg"))
    source.write_text(source.read_text().replace('"id": 102, "image_id": 0', '"id": 102, "image_id": 1'))
    for command in ("to-masks", "to-sa1b"):
        options = ["--classes", "cat", "--on-error", "skip"]
        assert main("prepare", [command, str(source), str(tmp_path / command), *options]) == 0
        said = capsys.readouterr().err
        assert "warning: no object of" in said
        for reason in ("1 of classes that were not chosen", "1 without a pixel", "1 in images that were left out"):
            assert reason in said
    empty = coco_json(tmp_path / "empty", [])
    assert main("prepare", ["to-masks", str(empty), str(tmp_path / "empty" / "out")]) == 0
    assert "warning: no object of" in capsys.readouterr().err


def test_names_that_are_not_utf8(tmp_path):
    """Files with names that are not UTF-8 are converted; JSON escapes the names and can be read back."""
    source = coco_json(tmp_path, [(1, [[2, 1, 6, 1, 6, 4]], {})], file_name="caf\udce9.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "caf\udce9.jpg")  # OpenCV cannot write this name
    summary = to_sa1b(read_annotations(source), tmp_path / "out")
    assert summary["objects"] == 1
    content = json.loads((tmp_path / "out" / "images" / "caf\udce9.json").read_text())
    assert content["image"]["file_name"] == "caf\udce9.jpg"
    for kind in ("coco", "labelme", "yolo"):
        image = LabelledImage("caf\udce9", tmp_path / "caf\udce9.jpg", box(1, 2, 4, 6, 1))
        assert export_annotations([image], tmp_path / kind, kind, ("background", "cat")) == 1
    for folder in ("images", "masks"):
        (tmp_path / "pairs" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "mask.png"), box(1, 2, 4, 6))
        shutil.copy(tmp_path / "mask.png", tmp_path / "pairs" / folder / "caf\udce9.png")
    with pytest.raises(DataError, match="is not UTF-8"):
        to_videos(tmp_path / "pairs" / "images", tmp_path / "pairs" / "masks", tmp_path / "videos")


# Exports


def labelled(folder, *names):
    return [
        LabelledImage(name, write_image(folder / f"{number}.jpg"), box(1, 2, 9, 9, 1))
        for number, name in enumerate(names)
    ]


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr("samplug.converters.from_masks._warn", said.append)
    return said


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_images_are_copied_where_links_cannot_be_made(tmp_path, monkeypatch, warnings, format):
    def refused(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refused)
    assert export_annotations(labelled(tmp_path, "a", "b"), tmp_path / "out", format, ("background", "cat")) == 2
    for name in ("a.jpg", "b.jpg"):
        path = tmp_path / "out" / "images" / name
        assert path.is_file()
        assert not path.is_symlink()
    (said,) = warnings
    assert "links to images cannot be made here (Operation not permitted): the images are copied" in said
    source = tmp_path / "out" / ("annotations.json" if format == "coco" else "")
    with pytest.raises(DataError, match=r"links cannot be made in .*: use --link copy"):
        to_masks(read_annotations(source), tmp_path / "masks", link="symlink")


def test_labelme_names_images_of_another_drive(tmp_path, monkeypatch):
    def other_drive(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    export_annotations(labelled(tmp_path, "a"), tmp_path / "out", "labelme", ("background", "cat"))
    assert to_masks(read_annotations(tmp_path / "out"), tmp_path / "back")["objects"] == 1


@pytest.mark.parametrize("kind", ["file", "link"])
def test_an_export_replaces_folders_only(tmp_path, kind):
    if kind == "file":
        (tmp_path / "out").write_text("mine")
    else:
        (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="out is a file or link, not a folder"):
            export_annotations(iter(()), tmp_path / "out", "coco", ("background", "cat"), overwrite)
    assert os.path.lexists(tmp_path / "out")


def test_names_that_windows_does_not_allow_are_said(tmp_path, warnings):
    names = ("ok", "deep/a:b", "aux", "auxiliary")
    export_annotations(labelled(tmp_path, *names), tmp_path / "out", "labelme", ("background", "cat"))
    (said,) = warnings
    assert "2 names cannot be used on Windows, the first is 'deep/a:b.jpg'" in said
