"""Images with a json each: the objects that come out, how many, and what stops the run."""

import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from samplug.datasets import DataError, SA1BDataset
from samplug.datasets.seeding import SeededDataset, SeededIndex
from samplug.datasets.summary import summarise
from samplug.utils.errors import ConfigError

HEIGHT, WIDTH = 24, 32
PIPELINE = [
    dict(type="LoadImage"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="mmdet.Resize", scale=(64, 64), keep_ratio=True),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="mmdet.PackDetInputs"),
]


def box(top, left, bottom, right, shape=(HEIGHT, WIDTH)):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(mask.shape), counts=rle["counts"].decode())


def runs(mask):
    """Uncompressed run lengths, counted one pixel after the other."""
    counts, inside = [0], False
    for pixel in mask.T.ravel():
        if pixel != inside:
            counts.append(0)
            inside = not inside
        counts[-1] += 1
    return dict(size=list(mask.shape), counts=counts)


def write(folder, name, segmentations, shape=(HEIGHT, WIDTH), **content):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), np.full((*shape, 3), 90, np.uint8))
    annotations = [dict(id=i, segmentation=s, area=1, bbox=[0, 0, 1, 1]) for i, s in enumerate(segmentations)]
    image = dict(file_name=f"{name}.jpg", height=shape[0], width=shape[1])
    (folder / f"{name}.json").write_text(json.dumps(dict(image=image, annotations=annotations) | content))


def build(folder, **options):
    return SA1BDataset(str(folder), **options)


def masks(info):
    return [coco_mask.decode(one["mask"]).astype(bool) for one in info["instances"]]


ONE, TWO = box(2, 3, 7, 9), box(10, 0, 24, 32)


def test_segmentations_of_every_kind(tmp_path):
    polygon = [[3, 2, 9, 2, 9, 7, 3, 7]]
    write(tmp_path, "a", [compressed(TWO), runs(ONE), polygon])
    info = build(tmp_path, name="mine").get_data_info(0)
    for found, expected in zip(masks(info), (TWO, ONE, ONE), strict=True):
        np.testing.assert_array_equal(found, expected)
    # Whatever the file says, the box is the mask's.
    assert [one["bbox"] for one in info["instances"]] == [[0, 10, 32, 24], [3, 2, 9, 7], [3, 2, 9, 7]]
    assert all(one["bbox_label"] == one["ignore_flag"] == 0 for one in info["instances"])
    assert (info["height"], info["width"], info["dataset_name"]) == (HEIGHT, WIDTH, "mine")
    assert (info["img_path"], info["img_id"]) == (str(tmp_path / "a.jpg"), "a")


def test_through_mmdets_transforms(tmp_path):
    """Masks and boxes follow the image; an image without objects passes too."""
    write(tmp_path, "a", [compressed(ONE), compressed(TWO)])
    write(tmp_path, "b", [])
    pipeline = [*PIPELINE[:3], dict(type="mmdet.RandomFlip", prob=1.0), PIPELINE[-1]]
    first, bare = (build(tmp_path, pipeline=pipeline)[index] for index in range(2))
    instances = first["data_samples"].gt_instances
    expected = [mask.repeat(2, 0).repeat(2, 1)[:, ::-1] for mask in (ONE, TWO)]
    np.testing.assert_array_equal(instances.masks.masks, expected)
    assert instances.bboxes.tensor.tolist() == [[46, 4, 58, 14], [0, 20, 64, 48]]
    assert first["inputs"].shape == (3, 48, 64)
    assert first["data_samples"].img_id == "a"
    assert bare["data_samples"].gt_instances.masks.masks.shape == (0, 48, 64)
    assert bare["data_samples"].gt_instances.bboxes.shape == (0, 4)


def test_other_sizes_of_images(tmp_path):
    """One pixel; many objects of one pixel; a large image."""
    write(tmp_path, "a", [compressed(np.ones((1, 1), bool))], (1, 1))
    singles = [np.arange(600).reshape(20, 30) == index for index in range(500)]
    write(tmp_path, "b", [compressed(mask) for mask in singles], (20, 30))
    large = (6000, 8000)
    write(tmp_path, "c", [[[10, 10, 7000, 10, 7000, 5000, 10, 5000]]], large)
    dataset = build(tmp_path, pipeline=PIPELINE)
    assert len(dataset) == 3
    assert dataset[0]["data_samples"].gt_instances.masks.masks.tolist() == np.ones((1, 64, 64)).tolist()
    assert len(dataset[1]["data_samples"].gt_instances) == 500
    assert "1x1 to 8000x6000, 502 objects (1 to 500 an image, 1 to 34,880,100 pixels)" in dataset.describe()
    info = dataset.get_data_info(1)
    assert [one["bbox"] for one in info["instances"]] == [[x, y, x + 1, y + 1] for y in range(20) for x in range(30)][
        :500
    ]
    assert dataset.get_data_info(2)["instances"][0]["bbox"] == [10, 10, 7000, 5000]


def test_the_draw_is_a_function_of_seed_epoch_and_sample(tmp_path):
    write(tmp_path, "a", [compressed(box(row, 0, row + 1, row + 1)) for row in range(20)])
    dataset = build(tmp_path, max_objects=3)

    def rows(sample):
        return [one["bbox"][1] for one in sample["instances"]]

    drawn = [
        rows(SeededDataset(dataset, seed)[SeededIndex(0, epoch)]) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) == 3
    assert all(len(set(one)) == 3 and one == sorted(one) for one in drawn)
    assert set().union(*(rows(SeededDataset(dataset, 0)[SeededIndex(0, epoch)]) for epoch in range(60))) == set(
        range(20)
    )
    assert len(dataset.get_data_info(0)["instances"]) == 20
    assert len(build(tmp_path, max_objects=30)[0]["instances"]) == 20


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (dict(), [1, 30, 448]),
        (dict(min_area=30), [30, 448]),
        (dict(min_area=31), [448]),
        (dict(max_area=30), [1, 30]),
        (dict(min_area=0.04), [448]),
        (dict(max_area=0.04), [1, 30]),
        (dict(min_area=1.0), []),
        (dict(min_area=2, max_area=0.5), [30]),
    ],
)
def test_areas_are_pixels_or_shares(tmp_path, options, left):
    write(tmp_path, "a", [compressed(mask) for mask in (box(0, 0, 1, 1), ONE, TWO)])
    dataset = build(tmp_path, **options)
    assert [int(mask.sum()) for mask in masks(dataset.get_data_info(0))] == left
    assert dataset.facts["a"].objects == len(left)
    assert ("left out by their area" in dataset.describe()) == (len(left) < 3)


def test_empty_masks_are_left_out_and_counted(tmp_path):
    nothing = np.zeros((HEIGHT, WIDTH), bool)
    write(tmp_path, "a", [compressed(nothing), compressed(ONE), [], runs(nothing)])
    dataset = build(tmp_path)
    np.testing.assert_array_equal(masks(dataset.get_data_info(0)), [ONE])
    assert dataset.facts["a"].empty == 3
    assert "3 empty masks left out" in dataset.describe()


def test_images_without_objects_are_left_out_of_training_if_asked(tmp_path):
    write(tmp_path, "a", [compressed(ONE)])
    write(tmp_path, "b", [])
    write(tmp_path, "c", [compressed(box(0, 0, 1, 1))])
    options = dict(filter_cfg=dict(filter_empty_gt=True), min_area=2)
    dataset = build(tmp_path, **options)
    assert [dataset.get_data_info(index)["img_id"] for index in range(len(dataset))] == ["a"]
    assert "2 images without objects, left out" in dataset.describe()
    assert len(build(tmp_path, test_mode=True, **options)) == len(build(tmp_path)) == 3
    with pytest.raises(DataError, match=r"no image of .* has an object in range: change min_area"):
        build(tmp_path, **options | dict(min_area=0.9))


def test_data_list_holds_paths_only(tmp_path):
    write(tmp_path, "a", [compressed(ONE)] * 50)
    dataset = build(tmp_path, serialize_data=False)
    assert set(dataset.data_list[0]) == {"img_path", "ann_paths", "img_id", "dataset_name"}
    assert summarise(dataset)["files"]["number"] == 2


def test_names_are_sorted_and_split(tmp_path):
    for index in (3, 1, 2, 0):
        write(tmp_path / "sub", f"n{index}", [compressed(ONE)])

    def names(**options):
        dataset = build(tmp_path, recursive=True, **options)
        return [dataset.get_data_info(index)["img_id"] for index in range(len(dataset))]

    assert names() == [f"sub/n{index}" for index in range(4)]
    parts = [names(part=part, val_fraction=0.5) for part in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == names()
    assert all(parts)
    assert names(include="*n[12]", extra_annotations=True) == ["sub/n1", "sub/n2"]


def test_workers_make_the_same_samples(tmp_path):
    write(tmp_path, "a", [compressed(ONE), compressed(TWO)])
    write(tmp_path, "b", [compressed(TWO)])
    dataset = SeededDataset(build(tmp_path, pipeline=PIPELINE, max_objects=1), 0)
    loader = DataLoader(dataset, num_workers=1, collate_fn=list, sampler=[SeededIndex(0, 4), SeededIndex(1, 4)])
    for (sample,), draw in zip(loader, (SeededIndex(0, 4), SeededIndex(1, 4)), strict=True):
        np.testing.assert_array_equal(
            sample["data_samples"].gt_instances.masks.masks, dataset[draw]["data_samples"].gt_instances.masks.masks
        )


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def with_entry(**entry):
    return lambda root: rewrite(root / "b.json", lambda content: content["annotations"].append(entry))


CASES = {
    "no-annotations": (lambda root: rewrite(root / "b.json", lambda c: c.pop("annotations")), r"b\.json has no list of annotations.*image"),
    "a-list": (lambda root: (root / "b.json").write_text("[1, 2]"), r"b\.json has no list of annotations, it contains '?\[1, 2\]"),
    "annotations-no-list": (lambda root: rewrite(root / "b.json", lambda c: c.update(annotations={})), "no list of annotations"),
    "truncated-json": (lambda root: cut(root / "b.json"), r"b\.json is not JSON: .*download or export it again"),
    "empty-json": (lambda root: (root / "b.json").write_bytes(b""), r"b\.json is not JSON"),
    "truncated-jpg": (lambda root: cut(root / "b.jpg"), r"b\.jpg is a truncated JPEG file: download or copy it again"),
    "no-json": (lambda root: (root / "b.json").unlink(), r"b\.jpg: has no annotation of the same name"),
    "no-image": (lambda root: (root / "b.jpg").unlink(), r"b\.json: has no image of the same name.*extra_annotations=True"),
    "two-images": (lambda root: cv2.imwrite(str(root / "b.png"), np.zeros((HEIGHT, WIDTH), np.uint8)), r"has the same name as b\.(png|jpg)"),
    "json-of-another-size": (
        lambda root: rewrite(root / "b.json", lambda c: c["image"].update(width=31)),
        r"b\.json is for 31x24, its image .*b\.jpg is 32x24",
    ),
    "turned": (
        lambda root: rewrite(root / "b.json", lambda c: c["image"].update(width=HEIGHT, height=WIDTH)),
        r"b\.json is for 24x32.*EXIF rotation.*save both upright",
    ),
    "runs-of-another-size": (
        with_entry(segmentation=compressed(np.ones((HEIGHT, WIDTH - 1), bool))),
        r"b\.json: annotations\[1\] has run lengths for a size \(height, width\) of \[24, 31\], the image has \[24, 32\]",
    ),
    "too-few-runs": (with_entry(segmentation=dict(size=[HEIGHT, WIDTH], counts=[3, 4])), r"annotations\[1\] has run lengths for 7 pixels"),
    "broken-runs": (with_entry(segmentation=dict(size=[HEIGHT, WIDTH], counts="\u00e9")), r"annotations\[1\] .*cannot be read.*character"),
    "no-segmentation": (with_entry(bbox=[0, 0, 1, 1]), r"annotations\[1\] has no segmentation.*bbox"),
    "digits": (with_entry(segmentation=[[10**400, 1, 2, 3, 4, 5]]), r"annotations\[1\] has the point x=inf"),
    "not-a-number": (with_entry(segmentation=[[float("nan"), 1, 2, 3, 4, 5]]), r"annotations\[1\] has the point x=nan"),
    "runs-of-many-digits": (with_entry(segmentation=dict(size=[HEIGHT, WIDTH], counts=[10**300])), "for 1000"),
    "size-of-many-digits": (lambda root: rewrite(root / "b.json", lambda c: c["image"].update(width=10**400)), r"b\.json is for 1000"),
    "nul": (with_entry(segmentation=dict(size=[HEIGHT, WIDTH], counts="a\0")), "cannot be read"),
    "surrogate": (with_entry(segmentation=dict(size=[HEIGHT, WIDTH], counts="\ud800")), "cannot be read"),
    "deep-json": (lambda root: (root / "b.json").write_bytes(b"[" * 100_000), r"b\.json is nested too deeply"),
    "nested-segmentation": (
        lambda root: (root / "b.json").write_text('{"annotations": [{"segmentation": ' + "[" * 300 + "]" * 300 + "}]}"),
        r"annotations\[0\] has coordinates that are not a list of numbers \(\[",
    ),
    "many-keys": (lambda root: (root / "b.json").write_text(json.dumps({f"{'k' * 99}{i}": 1 for i in range(999)})), "and 994 more"),
    "pipe": (lambda root: [(root / "b.json").unlink(), os.mkfifo(root / "b.json")], r"b\.json cannot be read: it is a pipe"),
    "box-as-polygon": (with_entry(segmentation=[[1, 2, 3, 4]]), r"annotations\[1\] has 4 numbers for an outline"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_broken_files_are_named_or_skipped(tmp_path, case):
    for name in "abc":
        write(tmp_path, name, [compressed(ONE)])
    damage, message = CASES[case]
    damage(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        build(tmp_path)
    assert max(map(len, str(caught.value).splitlines())) < 900
    dataset = build(tmp_path, on_error="skip")
    assert [dataset.get_data_info(index)["img_id"] for index in range(len(dataset))] == ["a", "c"]
    assert dataset.skipped
    assert all("b" in (name.rpartition("/")[2] or why) for name, why in dataset.skipped.items())


def test_what_breaks_after_the_start_is_named(tmp_path):
    """Not everything is read before the run."""
    for name in "ab":
        write(tmp_path, name, [compressed(ONE)])
    dataset = build(tmp_path, pipeline=PIPELINE)
    write(tmp_path, "b", [compressed(ONE)], image=dict(height=1, width=1))
    with pytest.raises(DataError, match=r"b\.json is for 1x1, its image"):
        dataset[1]


def test_turned_images_have_their_upright_size(tmp_path):
    write(tmp_path, "a", [compressed(ONE)])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH), (9, 99, 9)).save(tmp_path / "a.jpg", exif=exif)
    sample = build(tmp_path, pipeline=PIPELINE[:2])[0]
    assert (sample["height"], sample["width"]) == sample["img"].shape[:2] == sample["gt_masks"].masks.shape[1:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(max_objects=0), "max_objects=0 must be None or at least 1"),
        (dict(min_area=1.5), "min_area=1.5 is not a share.*an int for pixels"),
        (dict(max_area=-1), "max_area=-1 is neither"),
        (dict(min_area=None), "min_area=None is neither"),
        (dict(filter_cfg=dict(min_size=3)), "filter_cfg has min_size; it knows filter_empty_gt"),
        (dict(check="never"), "SA1BDataset: check='never' is not one of 'sample', 'all'"),
        (dict(part="half"), "part='half'"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, **options)


def test_folders_without_images(tmp_path):
    with pytest.raises(DataError, match=r"contains no images.*recursive=True"):
        build(tmp_path)
    with pytest.raises(DataError, match=r"gone does not exist"):
        build(tmp_path, image_dir="gone")
    write(tmp_path, "a", [])
    with pytest.raises(DataError, match=r"none of the 1 images .* matches include='x'"):
        build(tmp_path, include="x", extra_annotations=True)
