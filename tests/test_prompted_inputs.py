"""What a promptable model is trained and tested with when images and objects are as odd as they come."""

import json

import cv2
import numpy as np
import pytest
import torch

from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.utils.errors import DataError
from samplug.utils.rle import encode_rle
from tests.conftest import ROOT
from tests.shrink import shrink

CONFIG = ROOT / "configs/prompted/prompted-decoder_sam-vit-b_1xb4-20e_sa1b-1024.py"


def box(height, width, y0, x0, y1, x1):
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def dots(height, width, number):
    """Objects of 2 x 2 pixels."""
    places = [(y, x) for y in range(0, height - 1, 3) for x in range(0, width - 1, 3)][:number]
    assert len(places) == number
    return [box(height, width, y, x, y + 2, x + 2) for y, x in places]


ODD = {
    "empty": (40, 40, lambda h, w: [np.zeros((h, w), bool), box(h, w, 5, 5, 20, 20)]),
    "nothing": (40, 40, lambda h, w: []),
    "one pixel": (40, 40, lambda h, w: [box(h, w, 7, 9, 8, 10)]),
    "everything": (40, 60, lambda h, w: [np.ones((h, w), bool)]),
    "one by one": (1, 1, lambda h, w: [np.ones((1, 1), bool)]),
    "a line": (1, 60, lambda h, w: [box(h, w, 0, 20, 1, 50)]),
    "500 objects": (80, 80, lambda h, w: dots(h, w, 500)),
    "8000x6000": (6000, 8000, lambda h, w: [box(h, w, 1000, 1000, 3000, 5000)]),
}


def write(folder, name, height, width, masks):
    image = np.full((height, width, 3), 120, np.uint8)
    cv2.imwrite(str(folder / f"{name}.jpg"), image)
    annotations = [dict(segmentation=encode_rle(mask)) for mask in masks]
    content = dict(image=dict(file_name=f"{name}.jpg", width=width, height=height), annotations=annotations)
    (folder / f"{name}.json").write_text(json.dumps(content))


def config(data, work_dir, **changes):
    cfg = shrink(load_config(CONFIG), work_dir, data)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=str(data), part=None, min_area=0)
    cfg.train_dataloader.dataset.max_objects = 32
    cfg.model.train_prompts.num_correction_points = 1
    cfg.train_cfg.val_interval = 10
    cfg.merge_from_dict(changes)
    return cfg


@pytest.mark.parametrize("names", [[name for name in ODD if name[0] not in "58"], ["500 objects"], ["8000x6000"]])
def test_sound_results(names, tmp_path):
    """Trained on and tested: finite losses, a score for every object that has a pixel, the others counted."""
    data = tmp_path / "data"
    data.mkdir()
    objects = {}
    for name in names:
        height, width, make = ODD[name]
        objects[name] = make(height, width)
        write(data, name, height, width, objects[name])
    runner = build_runner(config(data, tmp_path / "run"))
    model = runner.train()
    assert all(value.isfinite().all() for value in model.state_dict().values() if value.is_floating_point())
    losses, _ = runner.message_hub.get_scalar("train/loss").data
    assert np.isfinite(losses).all()

    out = tmp_path / "out.json"
    tested = config(data, tmp_path / "test", load_from=str(tmp_path / "run/epoch_2.pth"))
    tested.test_evaluator[0].out_file = str(out)
    for section in TRAIN_SECTIONS:
        tested.pop(section, None)
    metrics = build_runner(tested).test()
    assert np.isfinite(list(metrics.values())).all()
    written = json.loads(out.read_text())
    for name, masks in objects.items():
        found = [key for key in written["images"] if f"/{name}.jpg" in key]
        assert len(found) == sum(bool(mask.any()) for mask in masks)
        if not masks:
            why = [reason for key, reason in written["skipped"].items() if f"/{name}.jpg" in key]
            assert why == ["there is no pixel of the object"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "odd.jpg").write_bytes((folder / "odd.jpg").read_bytes()[:200]), r"odd\.jpg"),
        (lambda folder: (folder / "odd.json").write_text('{"image": {}}'), r"odd\.json.*annotations"),
        (lambda folder: (folder / "odd.json").write_text('{"image'), r"odd\.json"),
        (lambda folder: (folder / "odd.json").unlink(), r"odd"),
    ],
    ids=["truncated jpg", "no annotations", "truncated json", "no json"],
)
def test_broken_files_are_named_before_the_run(tmp_path, break_it, message):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("odd", "plain"):
        write(data, name, 40, 40, [box(40, 40, 5, 5, 20, 20)])
    break_it(data)
    with pytest.raises(DataError, match=message):
        build_runner(config(data, tmp_path / "run")).train()
    cfg = config(data, tmp_path / "skip")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.on_error = "skip"
    runner = build_runner(cfg)
    runner.train()
    assert len(runner.train_dataloader.dataset) == 1
    assert torch.load(tmp_path / "skip/epoch_2.pth", weights_only=False)["meta"]["epoch"] == 2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_a_transform_cannot_take_is_named(tmp_path, num_workers):
    """A line of 200 pixels has no height at 32."""
    data = tmp_path / "data"
    data.mkdir()
    write(data, "odd", 1, 200, [box(1, 200, 0, 20, 1, 100)])
    with pytest.raises(ValueError, match="must be > 0") as found:
        build_runner(config(data, tmp_path / "run", **{"train_dataloader.num_workers": num_workers})).train()
    assert "sample 0: " + str(data / "odd.jpg") in "".join([str(found.value), *getattr(found.value, "__notes__", [])])
