"""Pairing and reading of image and mask folders."""

import cv2
import numpy as np
import pytest

from samplug.datasets import BinarySegDataset, DataError

PIPELINE = [dict(type="LoadImage"), dict(type="LoadBinaryMask"), dict(type="mmseg.PackSegInputs")]


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    rng = np.random.default_rng(0)
    for index in range(10):
        cv2.imwrite(str(tmp_path / "images" / f"a{index}.jpg"), rng.integers(0, 255, (20, 30, 3), np.uint8))
        cv2.imwrite(str(tmp_path / "masks" / f"a{index}.png"), rng.choice([0, 127, 255], (20, 30)).astype(np.uint8))
    return tmp_path


def build(folder, **kwargs):
    return BinarySegDataset(data_root=str(folder), pipeline=PIPELINE, **kwargs)


def write_mask(folder, name, mask):
    cv2.imwrite(str(folder / "masks" / name), np.asarray(mask, np.uint8))


def test_pairs_and_threshold(folder):
    dataset = build(folder)
    assert [dataset.get_data_info(i)["img_path"][-6:] for i in (0, 9)] == ["a0.jpg", "a9.jpg"]
    grey = cv2.imread(str(folder / "masks" / "a3.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(dataset[3]["data_samples"].gt_sem_seg.data[0], grey > 128)


def test_zero_one_masks(folder):
    for index in range(10):
        write_mask(folder, f"a{index}.png", np.eye(20, 30) if index else np.zeros((20, 30)))
    assert build(folder)[5]["data_samples"].gt_sem_seg.data.sum() == 20


def test_split_is_disjoint_complete_and_stable(folder):
    parts = [
        {info["img_path"] for info in build(folder, part=p, val_fraction=0.4).load_data_list()}
        for p in ("train", "val")
    ]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 10
    for part in ("images", "masks"):
        suffix = "jpg" if part == "images" else "png"
        (folder / part / f"new.{suffix}").write_bytes((folder / part / f"a0.{suffix}").read_bytes())
    again = {info["img_path"] for info in build(folder, part="val", val_fraction=0.4).load_data_list()}
    assert parts[1] <= again


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "masks" / "a3.png").unlink(), r"1 files have no partner.*a3\.jpg"),
        (lambda f: write_mask(f, "stray.png", np.zeros((20, 30))), r"stray\.png"),
        (lambda f: write_mask(f, "a3.tif", np.zeros((20, 30))), r"a3\.png and .*a3\.tif have the same stem"),
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], "holds no images"),
        (lambda f: (f / "masks").rename(f / "gt"), "masks does not exist"),
        (lambda f: write_mask(f, "a0.png", np.eye(20, 30)), r"a0\.png is a 0/1 mask"),
        (lambda f: (f / "masks" / "a0.png").write_bytes(b""), r"a0\.png is empty"),
        (lambda f: (f / "masks" / "a0.png").write_text("no"), r"a0\.png .* is no image"),
    ],
)
def test_broken_folders_are_explained(folder, damage, message):
    damage(folder)
    with pytest.raises(DataError, match=message):
        build(folder)


def test_broken_samples_are_explained(folder):
    write_mask(folder, "a1.png", np.zeros((21, 30)))
    write_mask(folder, "a2.png", np.eye(20, 30))
    (folder / "images" / "a4.jpg").write_bytes(b"")
    dataset = build(folder, mask_values="0/255")
    with pytest.raises(DataError, match=r"mask .*a1\.png is 30x21, its image .*a1\.jpg is 30x20"):
        dataset[1]
    with pytest.raises(DataError, match=r"a2\.png holds 0/1"):
        dataset[2]
    with pytest.raises(DataError, match=r"a4\.jpg is empty"):
        dataset[4]
    with pytest.raises(DataError, match="up to 255 in a dataset of 0/1"):
        build(folder, mask_values="0/1")[0]


def test_wrong_options():
    with pytest.raises(ValueError, match="part='test'"):
        BinarySegDataset(data_root="x", part="test")
    with pytest.raises(ValueError, match="mask_values='1'"):
        BinarySegDataset(data_root="x", mask_values="1")


@pytest.mark.parametrize(
    ("name", "images", "masks"),
    [
        ("camo", "CAMO-V.1.0-CVIU2019/Images/Test", None),
        ("duts/DUTS-TR", "DUTS-TR-Image", "DUTS-TR-Mask"),
        ("river", "images", "masks"),
        ("shadow_sbu_like", "ShadowImages", "ShadowMasks"),
    ],
)
def test_real_sets(test_data, tmp_path, name, images, masks):
    root = test_data / "data" / name
    count = len(list((root / images).iterdir()))
    if masks is None:  # CAMO keeps the masks of both parts in one folder: link those of this part
        masks = tmp_path / "masks"
        masks.mkdir()
        for image in (root / images).iterdir():
            (masks / f"{image.stem}.png").symlink_to(root / "CAMO-V.1.0-CVIU2019" / "GT" / f"{image.stem}.png")
    dataset = BinarySegDataset(data_root=str(root), image_dir=images, mask_dir=str(masks), pipeline=PIPELINE)
    assert len(dataset) == count
    shares = [
        dataset[index]["data_samples"].gt_sem_seg.data.float().mean().item() for index in range(0, count, count // 8)
    ]
    assert 0.02 < np.mean(shares) < 0.7
