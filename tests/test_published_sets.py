"""Every config of a published set reads a folder in the layout that it describes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samplug.config import load_config
from samplug.registry import DATASETS
from tests.conftest import ROOT
from tests.datasets.broken import save

# All but the one for anyone's own folders.
CLASS_SETS = {"class_folders", "imagenet"}  # tests/engine/test_probe_chain.py
CONFIGS = sorted({path.stem for path in (ROOT / "configs/_base_/datasets").glob("*.py")} - {"folders", *CLASS_SETS})
# How many pairs each set gets; those that are split need enough for both parts.
PAIRS, PAIRS_TO_SPLIT = 2, 100
HEIGHT, WIDTH, SIZE = 30, 40, 32


def truth(index: int) -> np.ndarray:
    """(H, W) bool: a box whose height is the pair's own."""
    return (np.arange(HEIGHT) < 5 + index % 20)[:, None] & (np.arange(WIDTH) >= 20)


def make(dataset: dict[str, Any]) -> dict[str, float]:
    """Write a set's folders; name of each image -> share of its foreground."""
    root = Path(dataset["data_root"])
    image_dir, mask_dir = dataset.get("image_dir", "images"), dataset.get("mask_dir", "masks")
    pattern = dataset.get("include", "*")
    number = PAIRS_TO_SPLIT if dataset.get("part") else PAIRS
    # Two sets may have their masks in one folder, as CAMO does: names are those of the folder of images.
    stems = [pattern.replace("*", f"{re.sub(r'[^A-Za-z]', '', image_dir)}_{index}") for index in range(number)]
    shares = {}
    for index, stem in enumerate(stems):
        box = truth(index)
        mask = box * np.uint8(255)
        if dataset.get("mask_values") == "red/green":
            half = np.arange(WIDTH) < 30
            mask = np.dstack([mask * half, mask * ~half, mask * 0])
        save(root / image_dir / f"{stem}.jpg", np.full((HEIGHT, WIDTH, 3), 40 + index, np.uint8))
        save(root / mask_dir / f"{stem}.png", mask)
        shares[f"{stem}.jpg"] = float(box.mean())
    if pattern != "*":  # what the pattern leaves out would be noticed: a mask without an image
        save(root / mask_dir / "OTHER-1.png", truth(0) * np.uint8(255))
    return shares


def test_all_are_here():
    assert len(CONFIGS) >= 11


@pytest.mark.parametrize("name", CONFIGS)
def test_layout(name, tmp_path):
    cfg = load_config(ROOT / "configs/_base_/datasets" / f"{name}.py", {"data_root": str(tmp_path), "img_size": SIZE})
    phases = [phase for phase in ("train", "val", "test") if f"{phase}_dataloader" in cfg]
    loaders = {phase: cfg[f"{phase}_dataloader"].dataset for phase in phases}
    settings = {phase: dataset.get("datasets") or [dataset] for phase, dataset in loaders.items()}
    names = [leaf["name"] for leaves in settings.values() for leaf in leaves]
    assert len(set(names)) == len(names)
    shares = {phase: [make(leaf) for leaf in of] for phase, of in settings.items()}
    used = {}
    for phase, dataset in loaders.items():
        built = DATASETS.build(dataset)
        parts = getattr(built, "datasets", [built])
        assert [part.name for part in parts] == [leaf["name"] for leaf in settings[phase]]
        first = 0
        for part, leaf, made in zip(parts, settings[phase], shares[phase], strict=True):
            assert leaf["published"]["images"] > len(made) == part.found
            names = {Path(part.get_data_info(index)["img_path"]).name for index in range(len(part))}
            if leaf.get("part"):
                used[phase] = names
                assert names < made.keys()
            else:
                assert names == made.keys()
            check_sample(built[first], phase, leaf["name"], made)
            first += len(part)
        assert first == len(built)
    if used:  # a test set of its own needs no split; then the split is for validation
        held_out = used["val" if "val" in used else "test"]
        assert not used["train"] & held_out
        assert used["train"] | held_out == shares["train"][0].keys()
        assert len(held_out) < len(used["train"])
    if "val" in phases:
        folders = {
            leaf["image_dir"] for leaf in settings["test"] if leaf["data_root"] == settings["val"][0]["data_root"]
        }
        assert settings["val"][0]["image_dir"] not in folders


def check_sample(packed: dict[str, Any], phase: str, name: str, shares: dict[str, float]) -> None:
    """Images are squashed to the model's size; truths too for training, and of the original size for scoring."""
    sample = packed["data_samples"]
    assert packed["inputs"].shape == (3, SIZE, SIZE)
    assert sample.dataset_name == name
    assert tuple(sample.ori_shape) == (HEIGHT, WIDTH)
    labels = sample.gt_sem_seg.data
    assert labels.shape == ((1, SIZE, SIZE) if phase == "train" else (1, HEIGHT, WIDTH))
    assert set(labels.unique().tolist()) == {0, 1}
    tolerance = 0.03 if phase == "train" else 1e-9
    assert labels.double().mean().item() == pytest.approx(shares[Path(sample.img_path).name], abs=tolerance)
