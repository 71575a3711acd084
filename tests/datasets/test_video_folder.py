"""Frames with label maps: which values and files are objects, and what stops the run."""

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from samplug.datasets import DataError, VideoFolderDataset
from samplug.datasets.summary import summarise

SHAPE = (12, 16)
LABELS = np.zeros(SHAPE, np.uint8)
LABELS[1:4, 2:9] = 3
LABELS[6:12, 0:4] = 200
LABELS[7, 1] = 3
LABELS[0, 15] = 255


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(values, Image.Image):
        values.save(path)
    else:
        cv2.imwrite(str(path), values)


def frame(root, video, number, labels=LABELS):
    save(root / "JPEGImages" / video / f"{number:05d}.jpg", np.full((*SHAPE, 3), 90, np.uint8))
    if labels is not None:
        save(root / "Annotations" / video / f"{number:05d}.png", labels)


def build(root, **options):
    return VideoFolderDataset(str(root), **options)


def names(dataset):
    return [dataset.get_data_info(index)["img_id"] for index in range(len(dataset))]


def masks(dataset, index=0):
    return [coco_mask.decode(one["mask"]).astype(bool) for one in dataset.get_data_info(index)["instances"]]


def palette(labels):
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] * 80)
    return image


@pytest.mark.parametrize("kind", [np.asarray, palette, lambda labels: labels.astype(np.uint16)])
def test_every_value_is_an_object(tmp_path, kind):
    frame(tmp_path, "v", 0, kind(LABELS))
    np.testing.assert_array_equal(masks(build(tmp_path)), [LABELS == 3, LABELS == 200, LABELS == 255])
    np.testing.assert_array_equal(masks(build(tmp_path, ignore_values=[255])), [LABELS == 3, LABELS == 200])


def test_a_binary_mask_is_one_object_and_an_empty_one_none(tmp_path):
    frame(tmp_path, "v", 0, (LABELS == 3) * np.uint8(255))
    frame(tmp_path, "v", 1, LABELS * 0)
    dataset = build(tmp_path)
    np.testing.assert_array_equal(masks(dataset), [LABELS == 3])
    assert masks(dataset, 1) == []
    assert "1 images without objects" in dataset.describe()


def test_folders_of_objects(tmp_path):
    """A file for each object and frame; what one holds besides 0 is one object, and not every object is in every frame."""
    for number in range(2):
        frame(tmp_path, "v", number, None)
    folder = tmp_path / "Annotations" / "v"
    save(folder / "001" / "00000.png", (LABELS == 3) * np.uint8(255))
    save(folder / "000" / "00000.png", np.where(LABELS == 200, 1, np.where(LABELS == 3, 2, LABELS)))
    save(folder / "001" / "00001.png", LABELS)
    dataset = build(tmp_path, ignore_values=[255])
    np.testing.assert_array_equal(masks(dataset), [LABELS > 0, LABELS == 3])
    np.testing.assert_array_equal(masks(dataset, 1), [LABELS > 0])
    assert summarise(dataset)["files"]["number"] == 5


def test_frames_are_images_of_their_own(tmp_path):
    for video, number in (("b", 4), ("b", 0), ("a", 7)):
        frame(tmp_path, video, number)
    frame(tmp_path, "b", 1, None)
    frame(tmp_path, "b", 2, None)
    dataset = build(tmp_path)
    assert names(dataset) == ["a/00007", "b/00000", "b/00004"]
    assert dataset.unannotated == 2
    assert "2 frames without annotation left out" in dataset.describe()


def test_lists_and_parts(tmp_path):
    for video in "abcdefgh":
        for number in range(3):
            frame(tmp_path, video, number)
    (tmp_path / "list.txt").write_text("# mine\nc\n\na\n")
    assert names(build(tmp_path, ann_file="list.txt")) == [f"{video}/{n:05d}" for video in "ac" for n in range(3)]
    parts = [names(build(tmp_path, part=part, val_fraction=0.5)) for part in ("train", "val")]
    videos = [{name.partition("/")[0] for name in part} for part in parts]
    assert not videos[0] & videos[1]
    assert videos[0] | videos[1] == set("abcdefgh")
    assert all(len(part) == 3 * len(of) > 0 for part, of in zip(parts, videos, strict=True))


def remove(*names):
    return lambda root: [(root / name).unlink() for name in names]


def colours(root):
    save(root / "Annotations/b/00000.png", np.dstack([LABELS, LABELS * 0, LABELS]))


CASES = {
    "no-frame": (remove("JPEGImages/b/00000.jpg"), r"Annotations/b/00000\.png: has no frame 00000", None),
    "no-frames": (lambda root: (remove("JPEGImages/b/00000.jpg")(root), (root / "JPEGImages/b").rmdir()), "Annotations/b: has no frames", None),
    "no-annotations": (
        lambda root: (remove("Annotations/b/00000.png")(root), (root / "Annotations/b").rmdir()), "JPEGImages/b: has no annotations", None
    ),
    "two-frames": (lambda root: save(root / "JPEGImages/b/00000.png", LABELS), "has the same name as 00000", None),
    "both-kinds": (lambda root: save(root / "Annotations/b/1/00000.png", LABELS), "Annotations/b: contains label maps and folders", None),
    "colours": (colours, r"b/00000\.png contains colours: a label map has grey values or a palette", None),
    "another-size": (
        lambda root: save(root / "Annotations/b/00000.png", LABELS[:-1]), r"b/00000\.png is for 16x11, its image .* is 16x12", None
    ),
    "truncated": (
        lambda root: (root / "JPEGImages/b/00000.jpg").write_bytes((root / "JPEGImages/b/00000.jpg").read_bytes()[:200]), "truncated JPEG", None
    ),
    "unknown": (lambda root: (root / "l.txt").write_text("a\nc\nz"), r"l\.txt, entry 3: there is no folder z", "l.txt"),
    "twice": (lambda root: (root / "l.txt").write_text("a\nc\na"), r"l\.txt, entry 3: a is listed twice", "l.txt"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_broken_folders_are_named_or_skipped(tmp_path, case):
    for video in "abc":
        frame(tmp_path, video, 0)
    damage, message, ann_file = CASES[case]
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        build(tmp_path, ann_file=ann_file)
    dataset = build(tmp_path, ann_file=ann_file, on_error="skip")
    assert names(dataset) == ["a/00000", "c/00000"]
    assert dataset.skipped


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="JPEGImages does not exist"):
        build(tmp_path)
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match="contains no folder of frames that are annotated"):
        build(tmp_path)
    with pytest.raises(
        DataError, match=r"the list .*none\.txt does not exist: set ann_file to a text file with a line for each video"
    ):
        build(tmp_path, ann_file="none.txt")
