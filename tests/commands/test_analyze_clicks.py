"""Curves and baselines of interactive segmentation."""

import csv
import json

import cv2
import numpy as np
import pytest

from samplug.commands import analyze_clicks
from samplug.commands.run import main
from samplug.config import load_config
from samplug.datasets.synthetic import camouflage_scene
from samplug.evaluation.baselines import box_fill, grabcut_box
from samplug.utils.errors import ConfigError, DataError
from tests.conftest import ROOT

CONFIG = ROOT / "projects/small/prompted-small_folders-256.py"


@pytest.fixture
def river(tmp_path):
    """A bright square on a dark ground in each of ten images."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for index in range(10):
        mask = np.zeros((60, 80), np.uint8)
        mask[15:45, 20 + index : 50 + index] = 255
        image = cv2.merge([mask // 2 + 50] * 3) + np.random.default_rng(index).integers(0, 20, (60, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), mask)
    return tmp_path


def written(path, ious, name="a.png"):
    objects = {
        f"{name}#{k}": {f"{m}@{i}": v for i, v in enumerate(of, 1) for m in ("IoU", "Dice", "BIoU")}
        for k, of in enumerate(ious)
    }
    path.write_text(json.dumps(dict(protocol="clicks", summary={}, images=objects, skipped={})))
    return path


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    assert main("analyze-clicks", list(map(str, arguments))) == 0
    return capsys.readouterr().out


def test_curves_and_table(tmp_path, monkeypatch, capsys):
    first = written(tmp_path / "first.json", [[0.2, 0.6], [0.4, 0.8]])
    second = written(tmp_path / "second.json", [[0.5]])
    out = command(monkeypatch, capsys, first, f"other={second}", "--out-dir", tmp_path / "out")
    assert "first (2 objects)" in out
    assert "other (1 objects)" in out
    with open(tmp_path / "out/clicks.csv") as file:
        rows = {(r["run"], r["measure"], r["prompts"]): float(r["mean"]) for r in csv.DictReader(file)}
    assert rows["first", "IoU", "1"] == pytest.approx(0.3)
    assert rows["first", "BIoU", "2"] == pytest.approx(0.7)
    assert rows["other", "Dice", "1"] == 0.5
    assert cv2.imread(str(tmp_path / "out/clicks.png")) is not None


def test_baselines(river, tmp_path, monkeypatch, capsys):
    """A square is its box; GrabCut finds a bright one on a dark ground."""
    options = [f"data_root={river}", "val_fraction=0.3", "test_fraction=0.4"]
    command(monkeypatch, capsys, "--baselines", CONFIG, "--cfg-options", *options, "--out-dir", tmp_path / "out")
    box, grabcut = (json.loads((tmp_path / f"out/{name}.json").read_text()) for name in ("box", "grabcut"))
    assert box["summary"]["IoU@1"] == 1
    assert grabcut["summary"]["IoU@1"] > 0.9
    assert set(box["images"]) == set(grabcut["images"])
    assert analyze_clicks.read([str(tmp_path / "out/box.json")])["box"] == box["images"]


def test_boxes_at_the_edge():
    image, _ = camouflage_scene(0, 0, 40)
    assert box_fill(image, (0, 0, 39, 39)).all()
    assert grabcut_box(image, (0, 0, 39, 39)).all()  # nothing outside to learn from
    assert grabcut_box(image, (3, 4, 3, 4)).shape == (40, 40)  # one pixel
    assert not box_fill(image, (40, 40, -1, -1)).any()  # of an empty mask
    assert not grabcut_box(image, (40, 40, -1, -1)).any()
    assert box_fill(image, (2, 3, 4, 4)).sum() == 3 * 2


def test_mistakes(tmp_path):
    path = written(tmp_path / "a.json", [[0.1]])
    with pytest.raises(ConfigError, match="two runs are called 'a'"):
        analyze_clicks.read([str(path), str(path)])
    with pytest.raises(DataError, match="cannot be read: No such file"):
        analyze_clicks.read([str(tmp_path / "none.json")])
    (tmp_path / "other.json").write_text(json.dumps(dict(protocol="overlap")))
    with pytest.raises(DataError, match="holds no scores of interactive segmentation"):
        analyze_clicks.read([str(tmp_path / "other.json")])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match=r"broken\.json is no json"):
        analyze_clicks.read([str(tmp_path / "broken.json")])
    cfg = load_config(CONFIG, dict(data_root=str(tmp_path)))
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match="has no test_dataloader"):
        analyze_clicks.box_baselines(cfg)
