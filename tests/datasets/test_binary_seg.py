"""Pairing, checking and reading of images and masks."""

import json
import os

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset

from samplug.datasets import BinarySegDataset, DataError

PIPELINE = [dict(type="LoadImage"), dict(type="LoadBinaryMask"), dict(type="PackSegInputs")]
SHAPE = (20, 30)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(array, np.uint8))


def picture(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(10):
        write(tmp_path / "images" / f"a{index}.jpg", picture(index))
        write(
            tmp_path / "masks" / f"a{index}.png",
            rng.choice([0, 90, 127, 200, 255], SHAPE, p=[0.5, 0.03, 0.04, 0.03, 0.4]),
        )
    return tmp_path


def build(folder, **kwargs):
    return BinarySegDataset(data_root=str(folder), **{"pipeline": PIPELINE, **kwargs})


def names(dataset):
    return [os.path.basename(dataset.get_data_info(index)["img_path"]) for index in range(len(dataset))]


def write_mask(folder, name, mask):
    write(folder / "masks" / name, mask)


def test_pairs_and_threshold(folder):
    dataset = build(folder, name="mine")
    assert names(dataset) == [f"a{index}.jpg" for index in range(10)]
    grey = cv2.imread(str(folder / "masks" / "a3.png"), cv2.IMREAD_GRAYSCALE)
    sample = dataset[3]["data_samples"]
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0], grey > 128)
    assert sample.dataset_name == "mine"
    assert build(folder)[0]["data_samples"].dataset_name == folder.name


def test_zero_one_masks(folder):
    for index in range(10):
        write_mask(folder, f"a{index}.png", np.eye(*SHAPE) if index else np.zeros(SHAPE))
    assert build(folder)[5]["data_samples"].gt_sem_seg.data.sum() == 20


def test_values_by_name_and_ignore(folder):
    for index in range(10):
        write_mask(folder, f"a{index}.png", np.arange(600).reshape(SHAPE) % 3)
    rule = dict(foreground=[1], background=[0], ignore=[2])
    labels = build(folder, mask_values=rule)[0]["data_samples"].gt_sem_seg.data
    assert {value: int((labels == value).sum()) for value in (0, 1, 255)} == {0: 200, 1: 200, 255: 200}
    with pytest.raises(
        DataError, match="foreground="
    ):  # a label map is no binary mask: the message shows what to write
        build(folder).full_init()


def test_suffixes_in_one_folder(tmp_path):
    for index in range(3):
        write(tmp_path / "all" / f"{index}.jpg", picture(index))
        write(tmp_path / "all" / f"{index}_mask.png", np.eye(*SHAPE) * 255)
    dataset = build(tmp_path, image_dir="all", mask_dir="all", img_suffix=".jpg", seg_map_suffix="_mask.png")
    assert names(dataset) == ["0.jpg", "1.jpg", "2.jpg"]
    assert build(tmp_path, image_dir="all", mask_dir="all", seg_map_suffix="_mask.png").found == 3
    with pytest.raises(ValueError, match="set img_suffix and seg_map_suffix"):
        build(tmp_path, image_dir="all", mask_dir="all")


def test_recursive_and_include(tmp_path):
    for part in ("x", "y"):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            write(tmp_path / kind / part / f"1.{suffix}", np.eye(*SHAPE) * 255)
    assert len(build(tmp_path, recursive=True)) == 2
    assert len(build(tmp_path, recursive=True, include="y/*")) == 1
    with pytest.raises(DataError, match="contains no images"):
        build(tmp_path)


def test_masks_of_another_split(folder):
    write_mask(folder, "other.png", np.zeros(SHAPE))
    with pytest.raises(DataError, match=r"other\.png: has no image of the same name.*extra_masks"):
        build(folder)
    assert len(build(folder, extra_masks=True)) == 10


@pytest.mark.parametrize(
    "lines",
    [
        "images/a1.jpg masks/a1.png\n# comment\n\n/images/a2.jpg\tmasks/a2.png",
        "images/a1.jpg,masks/a1.png\r\nimages/a2.jpg, masks/a2.png",
        "\ufeffa1\na2",
        "a1.jpg\na2.jpg",
    ],
)
def test_list_file(folder, lines):
    (folder / "list.txt").write_text(lines, encoding="utf-8")
    assert names(build(folder, ann_file="list.txt")) == ["a1.jpg", "a2.jpg"]


def test_list_file_problems(folder):
    (folder / "list.txt").write_text("a1\na77\na1\nimages/a2.jpg x y\nimages/a2.jpg masks/a3.gif\n")
    with pytest.raises(DataError) as caught:
        build(folder, ann_file="list.txt")
    for message in (
        "4 problems", "entry 2: there is no file a77 in", "entry 3: a1 is listed twice", "entry 4: 'images/a2.jpg x y' has 3 parts",
        "entry 5: there is no file", "a3.gif",
    ):  # fmt: skip
        assert message in str(caught.value)
    (folder / "empty.txt").write_text("\n# nothing\n")
    with pytest.raises(DataError, match="is empty"):
        build(folder, ann_file="empty.txt")
    with pytest.raises(DataError, match=r"missing\.txt does not exist"):
        build(folder, ann_file="missing.txt")


def test_split_is_disjoint_and_complete(folder):
    parts = [set(names(build(folder, part=part, val_fraction=0.4))) for part in ("train", "val")]
    assert not parts[0] & parts[1]
    assert [len(part) for part in parts] == [6, 4]


def test_split_in_three(folder):
    fractions = dict(val_fraction=0.3, test_fraction=0.3)
    parts = {part: set(names(build(folder, part=part, **fractions))) for part in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 10
    assert parts["val"] == set(
        names(build(folder, part="val", val_fraction=0.3))
    )  # a test part takes from training only
    with pytest.raises(DataError, match=r"part='test' of 10 pairs .* is empty: set test_fraction"):
        build(folder, part="test")
    with pytest.raises(DataError, match=r"part='val' of 1 pairs .* is empty: too few to split \(1\)"):
        build(folder, part="val", include="a1*")


def test_all_problems_are_listed_together_or_skipped(folder, capsys):
    (folder / "masks" / "a3.png").unlink()
    write_mask(folder, "stray.png", np.zeros(SHAPE))
    (folder / "images" / "a4.jpg").write_bytes(b"")
    write_mask(folder, "a5.png", np.zeros((21, 30)))
    with pytest.raises(DataError, match="2 problems") as caught:  # what pairing finds, before anything is read
        build(folder)
    assert "a3.jpg" in str(caught.value)
    assert "stray.png" in str(caught.value)

    dataset = build(folder, on_error="skip")
    assert names(dataset) == [f"a{index}.jpg" for index in (0, 1, 2, 6, 7, 8, 9)]
    assert len(dataset.skipped) == 4
    assert "30x21" in dataset.skipped["a5"]
    assert "a4.jpg" in dataset.skipped["a4"]
    (folder / "masks" / "stray.png").unlink()
    (folder / "images" / "a3.jpg").unlink()
    with pytest.raises(DataError, match="2 problems") as caught:
        build(folder, check="all")
    assert "a4.jpg" in str(caught.value)
    assert "30x21" in str(caught.value)


def test_resize_rule(folder):
    write_mask(folder, "a5.png", np.kron(np.eye(2), np.ones((20, 30))) * 255)
    labels = build(folder, size_mismatch="resize_mask")[5]["data_samples"].gt_sem_seg.data[0]
    np.testing.assert_array_equal(labels, np.kron(np.eye(2), np.ones((10, 15))))


def test_index_follows_the_files(folder, tmp_path_factory, monkeypatch):
    """A second start reads nothing; a file that changed is read again."""
    from samplug.datasets import scan

    monkeypatch.setenv("SAMPLUG_CACHE", str(tmp_path_factory.mktemp("cache")))
    read = []
    examine = scan.examine_pair
    monkeypatch.setattr(scan, "examine_pair", lambda pair, *rest: (read.append(pair.name), examine(pair, *rest))[1])
    build(folder, check="all", mask_values="0/255")
    assert sorted(read) == [f"a{index}" for index in range(10)]
    read.clear()
    facts = build(folder, check="all", mask_values="0/255").facts
    assert read == []
    write_mask(folder, "a7.png", np.full(SHAPE, 255))
    changed = build(folder, check="all", mask_values="0/255").facts
    assert read == ["a7"]
    assert {name for name in facts if facts[name] != changed[name]} == {"a7"}
    assert changed["a7"].foreground == 1
    # A rule is part of what was found.
    read.clear()
    build(folder, check="all", mask_values=dict(foreground=[200, 255], background=[0, 90, 127]))
    assert len(read) == 10
    # A damaged index is made anew.
    for path in (tmp_path_factory.getbasetemp()).glob("cache*/index/*.json"):
        path.write_text("{")
    read.clear()
    build(folder, check="all", mask_values="0/255")
    assert len(read) == 10
    for path in (tmp_path_factory.getbasetemp()).glob("cache*/index/*.json"):
        path.write_text("[1]")
    read.clear()
    build(folder, check="all", mask_values="0/255")
    assert len(read) == 10


def test_index_keeps_no_errors(folder, tmp_path_factory, monkeypatch):
    """What a message advises is tried, though no file changes: another limit, another right to read."""
    from samplug.imaging import files

    monkeypatch.setenv("SAMPLUG_CACHE", str(tmp_path_factory.mktemp("cache")))
    write(folder / "images" / "a7.jpg", picture(7, (40, 60)))
    write_mask(folder, "a7.png", np.eye(40, 60) * 255)
    monkeypatch.setenv("SAMPLUG_MAX_PIXELS", "2000")
    assert "SAMPLUG_MAX_PIXELS=2400" in build(folder, on_error="skip").skipped["a7"]
    monkeypatch.setenv("SAMPLUG_MAX_PIXELS", "2400")
    assert len(build(folder, on_error="skip")) == 10
    monkeypatch.setenv("SAMPLUG_MAX_PIXELS", "2000")
    assert list(build(folder, on_error="skip").skipped) == ["a7"]  # known facts belong to the limit that they met

    def refuse(path, most):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setenv("SAMPLUG_MAX_PIXELS", "9000")
        patch.setattr(files, "read_bytes", refuse)
        with pytest.raises(DataError, match="10 problems"):
            build(folder, mask_values="0/255")
    monkeypatch.setenv("SAMPLUG_MAX_PIXELS", "9000")
    assert len(build(folder, mask_values="0/255")) == 10


def test_unwritable_cache_is_no_obstacle(folder, monkeypatch):
    monkeypatch.setenv("SAMPLUG_CACHE", str(folder / "images" / "a0.jpg"))  # a file, where no folder can be made
    assert len(build(folder, check="all")) == 10


def test_start_up_lines(folder, capsys):
    write_mask(folder, "a1.png", np.zeros(SHAPE))
    write_mask(folder, "a2.png", np.full(SHAPE, 255))
    write(folder / "images" / "a9.jpg", picture(shape=(40, 50)))
    write_mask(folder, "a9.png", np.zeros((40, 50)))
    dataset = build(folder, name="mine", published=dict(images=12))
    from samplug.datasets.scan import describe_pairs

    text = describe_pairs(dataset.facts)
    assert "30x20 to 50x40" in text
    assert "2 of the masks empty (a1, a9)" in text
    assert "1 of the masks foreground over 95% (a2)" in text
    assert dataset.found == 10
    assert dataset.published["images"] == 12


def test_masks_that_are_no_masks_are_pointed_out(folder):
    """Grey photographs and probability maps pass a threshold without an error."""
    from samplug.datasets.scan import describe_pairs

    write_mask(folder, "a4.png", np.linspace(0, 255, 600).reshape(SHAPE))
    assert "1 of the masks mostly grey, like photographs and probability maps (a4)" in describe_pairs(
        build(folder, mask_values="0/255").facts
    )


def test_concatenation(folder):
    options = dict(type="BinarySegDataset", data_root=str(folder), pipeline=PIPELINE)
    both = ConcatDataset([dict(options, name="A", part="train"), dict(options, name="B", part="val", val_fraction=0.2)])
    assert [both[index]["data_samples"].dataset_name for index in (0, len(both) - 1)] == ["A", "B"]


def test_wrong_options():
    for options, message in (
        (dict(part="tests"), "part='tests'"),
        (dict(val_fraction=0.6, test_fraction=0.4), "test_fraction=0.4"),
        (dict(mask_values="1"), "'1'"),
        (dict(on_error="ignore"), "on_error='ignore'"),
        (dict(size_mismatch="resize"), "size_mismatch='resize'"),
        (dict(ann_file="list.txt", include="a*"), "leave out recursive, include"),
    ):
        with pytest.raises(ValueError, match=message):
            BinarySegDataset(data_root="x", **options)


def test_sample_is_checked_before_the_run(folder):
    (folder / "images" / "a4.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 problems.*\n.*a4\.jpg"):
        build(folder)


# Base config, options, share of the pictures that is foreground.
SETS = {
    "camo": (dict(data_root="data/camo/CAMO-V.1.0-CVIU2019"), (0.05, 0.5)),
    "duts": (dict(data_root="data/duts"), (0.1, 0.5)),
    "cvc_clinicdb": (dict(data_root="data/cvc_clinicdb/CVC-ClinicDB", val_fraction=0.3), (0.02, 0.3)),
}
FOLDERS = {
    "river": (dict(), (0.1, 0.7)),
    "shadow_sbu_like": (dict(image_dir="ShadowImages", mask_dir="ShadowMasks"), (0.1, 0.6)),
    "oxford_pets": (
        dict(mask_dir="annotations/label", mask_values=dict(foreground=[1, 2], background=[0], ignore=[255])),
        (0.1, 0.6),
    ),
}


def share(dataset):
    shares = []
    for index in range(len(dataset)):
        labels = dataset[index]["data_samples"].gt_sem_seg.data
        shares.append((labels == 1).sum().item() / (labels != 255).sum().item())
    return np.mean(shares)


@pytest.mark.parametrize("name", SETS)
def test_real_sets_by_their_configs(test_data, name):
    from samplug.config import load_config
    from samplug.registry import DATASETS
    from tests.conftest import ROOT

    options, (low, high) = SETS[name]
    options = {**options, "data_root": str(test_data / options["data_root"])}
    cfg = load_config(ROOT / "configs/_base_/datasets" / f"{name}.py", options).train_dataloader.dataset
    cfg.pipeline = PIPELINE
    dataset = DATASETS.build({**cfg, "check": "all"})
    assert low < share(dataset) < high
    assert not dataset.skipped


@pytest.mark.parametrize("name", FOLDERS)
def test_real_folders(test_data, name):
    options, (low, high) = FOLDERS[name]
    dataset = build(test_data / "data" / name, check="all", **options)
    assert low < share(dataset) < high
    images = test_data / "data" / name / options.get("image_dir", "images")
    assert len(dataset) == len(list(images.iterdir()))


def test_json_facts_are_plain(folder):
    """What the index stores can be read by anything."""
    facts = build(folder, check="all").facts
    assert json.loads(json.dumps({name: vars(fact) for name, fact in facts.items()}))


def test_a_mask_with_a_band_of_grey_outside_the_sample_is_named(folder):
    """The rule is decided on every n-th mask; the scan looks at the others."""
    for index in range(10, 80):
        write(folder / "images" / f"a{index}.jpg", picture())
        write(folder / "masks" / f"a{index}.png", np.eye(*SHAPE) * 255)
    band = np.zeros(SHAPE)
    band[5:15, 5:15], band[8:12, 8:12] = 128, 255
    write_mask(folder, "a11.png", band)
    dataset = build(folder, check="all")
    assert "1 of the masks with grey areas, thresholded at 128 (a11)" in dataset.describe()
    assert any("a11" in remark for remark in dataset.remarks())
