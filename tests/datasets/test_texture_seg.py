"""Images and label maps of regions, in the layouts of RWTD, STMD and ADE20K."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from samplug.datasets import TextureSegDataset
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, DataError
from samplug.visualization import region_masks

HEIGHT, WIDTH = 20, 30
PIPELINE = [
    dict(type="LoadImage"),
    dict(type="mmseg.Resize", scale=(16, 16), keep_ratio=False, backend="pillow"),
    dict(type="LoadRegionMap"),
    dict(type="PackSegInputs"),
]


def regions(*values, dtype=np.uint8):
    """Columns of these values."""
    return np.repeat(np.asarray(values, dtype), WIDTH // len(values))[None].repeat(HEIGHT, 0)


def write(folder, files):
    """Write label maps or, for None, images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in files.items():
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8) if labels is None else labels
        assert cv2.imwrite(str(folder / name), picture)


def found(root, layout, **settings):
    dataset = TextureSegDataset(str(root), layout, pipeline=PIPELINE, **settings)
    paths = [Path(dataset.get_data_info(index)["img_path"]) for index in range(len(dataset))]
    return {path.name: index for index, path in enumerate(paths)}, dataset


def labels_of(dataset, index):
    sample = dataset[index]["data_samples"]
    assert sample.ori_shape == (HEIGHT, WIDTH)
    assert sample.gt_sem_seg.data.shape == (1, HEIGHT, WIDTH)
    assert dataset[index]["inputs"].shape == (3, 16, 16)
    return sample.gt_sem_seg.data[0].numpy()


@pytest.mark.parametrize("masks", ["labels", "labeles"])
@pytest.mark.parametrize("images", ["images", "images_textured"])
def test_rwtd(tmp_path, masks, images):
    for folder in {"images", images}:
        write(tmp_path / folder, {"1.jpg": None, "101.jpg": None})
    write(tmp_path / masks, {"1.png": regions(0, 255), "101.png": regions(255, 0, 255)})
    names, dataset = found(tmp_path, "rwtd", image_dir=None if images == "images" else images)
    assert list(names) == ["1.jpg", "101.jpg"]
    assert dataset.get_data_info(0)["img_path"] == str(tmp_path / images / "1.jpg")
    assert (labels_of(dataset, 1) == regions(255, 0, 255)).all()
    assert dataset.summary() == "2 images, labels as rwtd, 30x20, 2 regions an image"
    assert dataset.metainfo["layout"] == "rwtd"
    assert dataset[0]["data_samples"].no_region is None


@pytest.mark.parametrize(("images", "masks"), [("images_test", "labels_test"), ("images", "groundtruth")])
def test_stmd(tmp_path, images, masks):
    """A list of numbers chooses the images; any grey values are regions, of 16 bits too."""
    values = {"7.png": regions(3, 90, 201), "12.png": regions(300, 40_000, dtype=np.uint16), "9.png": regions(0, 1)}
    write(tmp_path / images, {name.replace("png", "jpg"): None for name in values})
    write(tmp_path / masks, values)
    (tmp_path / "test.txt").write_text("12\n7\n")
    names, dataset = found(tmp_path, "stmd", ann_file="test.txt")
    assert names == {"12.jpg": 0, "7.jpg": 1}
    assert (labels_of(dataset, 0) == regions(300, 40_000, dtype=np.uint16)).all()
    assert (labels_of(dataset, 1) == regions(3, 90, 201)).all()
    assert dataset.summary() == "2 images, labels as stmd, 30x20, 2 to 3 regions (mean 2.5) an image"
    assert list(found(tmp_path, "stmd")[0]) == ["12.jpg", "7.jpg", "9.jpg"]


def test_ade20k(tmp_path):
    """0 is no instance; a map may have nothing else."""
    names = [f"ADE_val_{number:08d}" for number in (1, 2, 3)]
    write(tmp_path / "images", {f"{name}.jpg": None for name in names})
    maps = [regions(0, 1, 2), regions(4, 4), regions(0, 0)]
    write(
        tmp_path / "ADE20K_unified_gt_instances",
        {f"unified_{name}.png": labels for name, labels in zip(names, maps, strict=True)},
    )
    _, dataset = found(tmp_path, "ade20k")
    assert [labels_of(dataset, index).tolist() for index in range(3)] == [labels.tolist() for labels in maps]
    assert dataset.describe() == "labels as ade20k, 30x20, 0 to 2 regions (mean 1.0) an image"
    assert dataset.remarks() == [f"look at 1 label maps without a region: {names[2]}"]
    assert dataset[0]["data_samples"].no_region == 0


def test_region_masks():
    masks = region_masks(regions(0, 5, 9), 0)
    assert [mask.tolist() for mask in masks] == [(regions(0, 5, 9) == value).tolist() for value in (5, 9)]
    assert len(region_masks(regions(0, 5, 9))) == 3


def rwtd(root):
    write(root / "images", {f"{number}.jpg": None for number in (1, 2)})
    write(root / "labels", {f"{number}.png": regions(0, 255) for number in (1, 2)})


BROKEN = {
    "other folder": (lambda r: (r / "labels").rename(r / "masks"), r"labels does not exist; .* contains images, masks"),
    "one value": (lambda r: write(r / "labels", {"2.png": regions(7, 7)}), r"2\.png has one value, 7"),
    "size": (lambda r: write(r / "labels", {"2.png": regions(0, 1)[:-1]}), r"2\.png is 30x19, its image .* is 30x20"),
    "turned": (lambda r: write(r / "labels", {"2.png": regions(0, 1).T}), r"is 20x30, .*EXIF rotation"),
    "colours": (lambda r: write(r / "labels", {"2.png": np.dstack([regions(0, 1), regions(1, 2), regions(2, 0)])}),
                r"2\.png has colours"),
    "zeros": (lambda r: (r / "labels/2.png").rename(r / "labels/002.png"), r"2\.jpg: has no label map .*'002\.png'"),
    "no map": (lambda r: (r / "labels/2.png").unlink(), r"2\.jpg: has no label map of the same name"),
    "no image": (lambda r: (r / "images/2.jpg").unlink(), r"2\.png: has no image of the same name"),
    "broken": (lambda r: (r / "labels/2.png").write_bytes(b"\x89PNG\r\n\x1a\n123"), r"2\.png"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_sets_are_named_before_a_run(tmp_path, case):
    break_it, message = BROKEN[case]
    rwtd(tmp_path)
    break_it(tmp_path)
    with pytest.raises(DataError, match=message):
        found(tmp_path, "rwtd")
    if case != "other folder":
        names, dataset = found(tmp_path, "rwtd", on_error="skip")
        assert list(names) == ["1.jpg"]
        assert dataset.skipped


def test_what_was_not_sampled_is_checked_when_it_is_loaded(tmp_path):
    rwtd(tmp_path)
    _, dataset = found(tmp_path, "rwtd")
    write(tmp_path / "labels", {"2.png": regions(7, 7)})
    with pytest.raises(DataError, match=r"2\.png has one value"):
        dataset[1]


def test_a_list_with_leading_zeros(tmp_path):
    rwtd(tmp_path)
    (tmp_path / "test.txt").write_text("1\n002\n")
    with pytest.raises(DataError, match=r"no file 002 in .*images \('2\.jpg' does not count\) and no 002 in"):
        found(tmp_path, "rwtd", ann_file="test.txt")


def test_ade20k_without_maps_tells_how_to_make_them(tmp_path):
    write(tmp_path / "images", {"ADE_val_00000001.jpg": None})
    write(tmp_path / "gt_instances", {"instance_000_ADE_val_00000001.png": regions(0, 255)})
    with pytest.raises(DataError, match=r"ade20k \S+gt_instances \S+unified\S+ --images \S+ --to unified"):
        found(tmp_path, "ade20k")


def test_a_folder_that_is_missing(tmp_path):
    """Its list is not what the user should look for."""
    rwtd(tmp_path / "RWTD")
    with pytest.raises(DataError, match=r"the folder \S+/STMD does not exist; .* contains RWTD"):
        found(tmp_path / "STMD", "stmd", ann_file="test.txt")


def test_unknown_layout():
    with pytest.raises(ConfigError, match=r"layout='dtd' is not one of 'rwtd', 'stmd', 'ade20k'"):
        TextureSegDataset("data", "dtd")


def test_real_images(test_data):
    settings = dict(type="TextureSegDataset", data_root=str(test_data / "data/rwtd"), check="all", pipeline=PIPELINE)
    dataset = DATASETS.build(settings)
    assert dataset.describe() == "labels as rwtd, 256x256, 2 regions an image"
    assert len(dataset) == dataset.found == len(list((test_data / "data/rwtd/labels").iterdir()))
