"""Images in class folders: labels, class lists, parts, few shots, and all that can be wrong with them."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset
from PIL import Image

from samplug.datasets import ImageFolderDataset
from samplug.datasets.few_shot import draw_shots
from samplug.datasets.seeding import SeededDataset
from samplug.engine.hooks.split_leakage import SplitLeakageHook, check_classes
from samplug.models import LetterboxPreProcessor
from samplug.registry import DATASETS
from samplug.structures import ClassDataSample
from samplug.utils.errors import ConfigError, DataError
from tests.datasets.broken import cut, save

PIPELINE = [dict(type="LoadImage"), dict(type="PackClassInputs")]


def image(level=90, mode="RGB"):
    return Image.fromarray(np.full((12, 16, 3), level, np.uint8)).convert(mode)


def write(root, **numbers):
    """``root/CLASS/0.JPEG ...``, so many of each class."""
    for label, number in numbers.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            save(root / label / f"{index}.JPEG", image(10 * index))
    return root


def build(root, *args, **options):
    return ImageFolderDataset(str(root), *args, **{"serialize_data": False, "check": "all", **options})


def labels(dataset):
    return {info["img_id"]: info["gt_label"] for info in (dataset.get_data_info(i) for i in range(len(dataset)))}


def error(root, *args, **options):
    with pytest.raises((DataError, ConfigError)) as caught:
        build(root, *args, **options)
    assert all(len(line) < 400 for line in str(caught.value).splitlines())
    return str(caught.value)


def test_folders_are_classes(tmp_path):
    write(tmp_path / "train", cat=2, ant=1)
    save(tmp_path / "train/cat/more/deep.png", image())
    save(tmp_path / "train/cat/0.png", image())  # not the same image as 0.JPEG
    os.symlink(tmp_path / "train/cat", tmp_path / "train/dog")
    for hidden in (".cache/a.png", "ant/.hidden.png", "ant/notes.txt", "__MACOSX/ant/0.png"):
        (tmp_path / "train" / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / hidden).write_bytes(b"none")
    dataset = build(tmp_path, "train", name="pets")
    cats = ("0.JPEG", "0.png", "1.JPEG", "more/deep.png")
    assert labels(dataset) == {"ant/0.JPEG": 0} | {f"{c}/{n}": i for i, c in ((1, "cat"), (2, "dog")) for n in cats}
    assert dataset.metainfo == {"task": "classification", "classes": ("ant", "cat", "dog")}
    assert dataset.summary() == "9 images, 3 classes, 1 to 4 images each, 16x12"
    assert dataset.get_data_info(0)["dataset_name"] == "pets"
    assert dataset.get_gt_labels() == [0, *[1] * 4, *[2] * 4]
    assert len(ClassBalancedDataset(dataset, oversample_thr=0.5)) > 9  # by get_cat_ids


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "P", "RGBA", "LA"])
def test_every_kind_of_image_becomes_bgr(tmp_path, mode):
    write(tmp_path, a=1, b=1)
    if mode == "I;16":
        picture = Image.fromarray(np.full((12, 16), 90 * 257, np.uint16))
    else:
        picture = image(90).quantize(4) if mode == "P" else image(90, mode)
    kind = "jpg" if mode == "CMYK" else "png"
    save(tmp_path / f"a/odd.{kind}", picture)
    item = build(tmp_path, pipeline=PIPELINE)[1]
    assert (item["inputs"].shape, item["inputs"].dtype) == ((3, 12, 16), torch.uint8)
    assert (item["inputs"].int() - 90).abs().max() <= 2
    sample = item["data_samples"]
    assert type(sample) is ClassDataSample
    assert (sample.gt_label.tolist(), sample.img_id, sample.ori_shape) == ([0], f"a/odd.{kind}", (12, 16))


def test_colours_are_bgr_and_batches_reach_the_model(tmp_path):
    write(tmp_path, a=1, b=1)
    save(tmp_path / "a/0.png", np.full((12, 16, 3), (200, 100, 50), np.uint8))
    item = build(tmp_path, pipeline=PIPELINE)[1]
    assert item["inputs"][:, 0, 0].tolist() == [50, 100, 200]
    processor = LetterboxPreProcessor(size=(16, 16), bgr_to_rgb=True, mean=[0, 0, 0], std=[1, 1, 1])
    for training in (True, False):
        batch = processor(dict(inputs=[item["inputs"]], data_samples=[item["data_samples"]]), training)
        assert batch["inputs"][0, :, 0, 0].tolist() == [200, 100, 50]
        assert batch["data_samples"][0].gt_label.tolist() == [0]


def test_class_list_files(tmp_path):
    write(tmp_path / "train", n02=1, n01=2, **{"big cat": 1})
    (tmp_path / "classes.txt").write_text("# order of the labels\nn02 tabby, tabby cat\nbig cat\n\nn01\ttench\n")
    dataset = build(tmp_path, "train", classes="classes.txt")
    assert labels(dataset) == {"n02/0.JPEG": 0, "big cat/0.JPEG": 1, "n01/0.JPEG": 2, "n01/1.JPEG": 2}
    assert dataset.metainfo["class_names"] == ("tabby, tabby cat", "big cat", "tench")
    assert dataset.metainfo["classes"] == ("n02", "big cat", "n01")
    for options in (dict(classes=["n01", "n02"]), dict(metainfo=dict(classes=("n01", "n02")))):
        assert "big cat: is no class in classes: add it" in error(tmp_path, "train", **options)
        assert build(tmp_path, "train", extra_classes=True, **options).get_gt_labels() == [0, 0, 1]


def test_a_validation_set_has_the_classes_of_its_training_set(tmp_path):
    write(tmp_path / "train", a=2, b=2, c=2)
    write(tmp_path / "val", a=1, c=1)
    message = error(tmp_path, "val", classes_from="train")
    assert "val has unusable class folders (1):" in message
    assert "b: has no images: add some, remove the class, or set missing_classes=True" in message
    dataset = build(tmp_path, "val", classes_from="train", missing_classes=True)
    assert labels(dataset) == {"a/0.JPEG": 0, "c/0.JPEG": 2}
    assert "3 classes, 1 images each, 1 classes without images" in dataset.summary()
    write(tmp_path / "val", b=1, d=1)
    assert f"d: is no class in {tmp_path / 'train'}: add it there, remove" in error(
        tmp_path, "val", classes_from="train"
    )
    assert "d: is no class" in error(tmp_path, "val", classes_from="train", on_error="skip")
    together = ConcatDataset([build(tmp_path, "train", bank=True), build(tmp_path, "train")])
    assert [together.get_data_info(i).get("bank", False) for i in (0, 6)] == [True, False]


def test_training_stops_if_labels_have_two_meanings(tmp_path):
    """Without classes_from, a folder that validation lacks would move the labels of all after it."""
    write(tmp_path / "train", a=1, b=1, c=1)
    write(tmp_path / "val", a=1, c=1, d=1)
    train, val = build(tmp_path, "train"), build(tmp_path, "val")
    with pytest.raises(ConfigError, match=r"only in training: b; only in validation: d\): set classes_from"):
        check_classes(SeededDataset(train, 0), SeededDataset(ConcatDataset([val, val]), 0))
    other = build(tmp_path, "train", classes=["c", "b", "a"])
    with pytest.raises(ConfigError, match="in another order"):
        check_classes(train, other)
    check_classes(train, build(tmp_path, "val", classes_from="train", missing_classes=True, extra_classes=True))
    hook, loops = SplitLeakageHook(), [SimpleNamespace(dataloader=SimpleNamespace(dataset=d)) for d in (train, val)]
    with pytest.raises(ConfigError, match="different classes"):
        hook.before_train(SimpleNamespace(train_loop=loops[0], val_loop=loops[1]))


def test_annotation_lists(tmp_path):
    write(tmp_path / "images", a=2, b=2)
    save(tmp_path / "images/my cat.png", image())
    path = tmp_path / "train.txt"

    def read(text, **options):
        path.write_text(text)
        return labels(build(tmp_path, "images", ann_file="train.txt", **options))

    assert read("a/0.JPEG 1\nb/0.JPEG 0\n", classes=["x", "y"]) == {"b/0.JPEG": 0, "a/0.JPEG": 1}
    assert read("a/0.JPEG\nmy cat.png cat\n/b/1.JPEG\tb\n") == {"a/0.JPEG": 0, "b/1.JPEG": 1, "my cat.png": 2}
    # Digits that are classes are classes.
    assert read("a/0.JPEG 1\nb/0.JPEG 0\n", classes=["1", "0"]) == {"a/0.JPEG": 0, "b/0.JPEG": 1}
    for text, says in {
        "a/0.JPEG 1\nb/0.JPEG 0\n": "entry 1: the label 1 is a number: set classes",
        "a/0.JPEG a\nb/9.JPEG b\n": r"entry 2: there is no file .*b/9.JPEG",
        "a/0.JPEG a\nmy cat.png\n": "entry 2: 'my cat.png' has no label",
        "a/0.JPEG a\na/0.JPEG b\n": "entry 2: a/0.JPEG is listed twice",
        "": "is empty: it needs a line for each image",
        "a/0.JPEG a\na/1.JPEG a\n": "has one class, a: at least two",
    }.items():
        with pytest.raises(DataError, match=says):
            read(text)
    for text, says in {
        "a/0.JPEG 2\nb/0.JPEG 0\n": "the label '2' is none of the 2 classes",
        "a/0.JPEG catt\nb/0.JPEG dog\n": r"the label 'catt' is none of the 2 classes; did you mean cat\?",
    }.items():
        with pytest.raises(DataError, match=says):
            read(text, classes=["cat", "dog"])


def test_each_part_has_each_class(tmp_path):
    write(tmp_path, a=20, b=5, c=2)
    parts = {part: labels(build(tmp_path, part=part, val_fraction=0.2)) for part in ("train", "val")}
    assert {name: sorted(found.values()) for name, found in parts.items()} == {
        "train": [*[0] * 16, *[1] * 4, 2],
        "val": [*[0] * 4, 1, 2],
    }
    assert not parts["train"].keys() & parts["val"].keys()
    write(tmp_path, d=1)
    assert "part='val'" in (message := error(tmp_path, part="val"))
    assert "has no image of d: add images" in message


def test_few_shots(tmp_path):
    write(tmp_path, a=8, b=5)
    tries = [labels(build(tmp_path, shots=3, seed=seed)) for seed in range(4)]
    assert all(sorted(found.values()) == [0, 0, 0, 1, 1, 1] for found in tries)
    assert tries[2] == labels(build(tmp_path, shots=3, seed=2))
    assert len({frozenset(found) for found in tries}) > 1
    torch.manual_seed(2)  # DINOv2's way to draw
    expected = [f"{c}/{index}.JPEG" for c, n in (("a", 8), ("b", 5)) for index in torch.randperm(n)[:3].tolist()]
    assert list(tries[2]) == expected
    assert "fewer than shots=6 images of b (5): lower shots" in error(tmp_path, shots=6)
    assert "shots=0 must be None or at least 1" in error(tmp_path, shots=0)
    with pytest.raises(DataError, match="class 1 has 1 samples, fewer than shots=2"):
        draw_shots(torch.tensor([0, 0, 1]), 2, 0)


def test_broken_files(tmp_path):
    write(tmp_path, a=3, b=2)
    (tmp_path / "a/1.JPEG").write_bytes(cut("JPEG", 0.5))
    (tmp_path / "b/9.png").mkdir()
    assert "b/9.png: is a folder with the name of an image" in error(tmp_path)
    dataset = build(tmp_path, on_error="skip", check="sample")
    assert len(dataset) == 4
    assert dataset.skipped.keys() == {"a/1.JPEG", str(tmp_path / "b/9.png")}
    (tmp_path / "b/9.png").rmdir()
    message = error(tmp_path)
    assert "a/1.JPEG is a truncated JPEG file" in message
    assert "on_error='skip'" in message
    for name in ("0", "1"):
        (tmp_path / f"b/{name}.JPEG").write_bytes(b"")
    assert "no image of b" in error(tmp_path, on_error="skip")
    check = ImageFolderDataset.check_files(dict(type="ImageFolderDataset", data_root=str(tmp_path)))
    assert "no image of b" in check.problems[0]


@pytest.mark.parametrize(
    ("numbers", "options", "says"),
    [
        (dict(a=2), {}, "has one class, a: at least two are needed"),
        ({}, {}, "has no folders of classes: at least two"),
        (dict(a=2, b=0, c=1), {}, "b: has no images: add some, remove the class"),
        (dict(a=2, b=0, c=1), dict(on_error="skip"), "b: has no images"),
        (dict(a=1, b=1), dict(image_dir="val"), "val does not exist; .* contains a, b"),
        (dict(a=1, b=1), dict(classes="classes.txt"), "classes.txt does not exist: set classes to a text file"),
        (dict(a=1, b=1), dict(classes=["a", "a"]), "classes names a twice"),
        (dict(a=1, b=1), dict(classes=[0, 1]), "classes has 0: write the names of folders"),
        (dict(a=1, b=1), dict(classes=["cat", "dog"]), r"names none of the folders in .* \(a, b\): write the folders"),
        (dict(a=1, b=1), dict(classes=["a", "b"], classes_from="."), "classes and classes_from are both set"),
        (dict(a=1, b=1), dict(data_prefix="train"), "data_prefix='train' is not used: set image_dir"),
    ],
)
def test_bad_input(tmp_path, numbers, options, says):
    write(tmp_path, **numbers)
    with pytest.raises((DataError, ConfigError), match=says):
        build(tmp_path, **options)


def test_misplaced_images_and_folders(tmp_path):
    write(tmp_path / "train", a=1, b=1)
    write(tmp_path / "val", a=1, b=1)
    assert "contains the folders train, val, which are parts and no classes: set image_dir='train'" in error(tmp_path)
    save(tmp_path / "train/loose.png", image())
    assert "loose.png: is in no folder of a class: move it" in error(tmp_path, "train")
    assert len(build(tmp_path, "train", on_error="skip")) == 2
    assert "train/a has no folders of classes" in error(tmp_path, "train/a")  # not an error for each image


def test_imagenette(test_data):
    root = test_data / "data" / "imagenette_224"
    config = dict(type="ImageFolderDataset", data_root=str(root), pipeline=PIPELINE, check="all", serialize_data=False)
    train = DATASETS.build(config | dict(image_dir="train"))
    val = DATASETS.build(config | dict(image_dir="val", classes_from="train"))
    assert (len(train), len(val)) == (300, 60)
    assert train.metainfo == val.metainfo
    assert len(train.metainfo["classes"]) == 10
    assert train.metainfo["classes"][:2] == ("n01440764", "n02102040")
    items = [val[index] for index in range(len(val))]
    assert {tuple(item["inputs"].shape) for item in items} == {(3, 224, 224)}
    assert sum(int(item["data_samples"].gt_label) for item in items) == 6 * 45
    grey = [item["data_samples"].img_id for item in items if (item["inputs"] == item["inputs"][:1]).all()]
    stored = [path for path in sorted((root / "val").rglob("*.JPEG")) if Image.open(path).mode == "L"]
    assert grey == [str(path.relative_to(root / "val")) for path in stored] != []
