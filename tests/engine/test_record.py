"""run.json: command, environment, data and outcome of a run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset

from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.datasets import summary
from samplug.datasets.binary_seg import BinarySegDataset
from samplug.datasets.seeding import SeededDataset
from samplug.datasets.summary import summarise
from samplug.engine import environment
from samplug.registry import DATASETS
from tests.conftest import ROOT
from tests.engine.test_interruption import config
from tests.shrink import shrink


def a_set(folder, number=4, shade=200):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(number):
        mask = np.zeros((20, 24), np.uint8)
        mask[5:15, 5:15] = 255
        cv2.imwrite(str(folder / "images" / f"{index}.png"), np.full((20, 24, 3), shade, np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{index}.png"), mask)
    return dict(type="BinarySegDataset", data_root=str(folder))


def records(work_dir):
    return [json.loads(path.read_text()) for path in sorted(work_dir.glob("*/run.json"))]


def test_a_training_its_repeated_use_and_the_resolved_config(tmp_path):
    options = dict(test_length=6, lr=0.5)
    cfg = shrink(load_config(ROOT / "configs/quickstart.py", options), tmp_path / "work", tmp_path)
    cfg.val_dataloader = cfg.test_dataloader
    cfg.val_cfg, cfg.val_evaluator = dict(type="ValLoop"), dict(type="SaliencyMetric", workers=0)
    cfg.train_cfg.val_interval = 2
    cfg.test_evaluator = dict(type="SaliencyMetric", workers=0)
    cfg.model.backbone.frozen = True
    cfg.default_hooks.checkpoint.update(save_best="MAE", rule="less")
    runner = build_runner(cfg)
    runner.train()
    (record,) = records(tmp_path / "work")
    assert record["config"].endswith("configs/quickstart.py")
    assert record["seed"] == 0
    assert record["environment"]["versions"]["torch"] == torch.__version__
    assert all(
        record["environment"]["versions"][name] for name in ("samplug", "mmengine", "numpy", "cv2", "transformers")
    )
    assert Path(sys.executable).name in record["environment"]["command"]
    sizes = {
        flag: sum(p.numel() for p in runner.model.parameters() if p.requires_grad is flag) for flag in (True, False)
    }
    assert record["parameters"] == dict(trained=sizes[True], frozen=sizes[False])
    assert min(sizes.values()) > 0
    assert record["data"].keys() == {"train", "val"}
    assert record["data"]["train"]["type"] == "CamouflageSceneDataset"
    (run,) = record["runs"]
    assert run["outcome"] == "finished"
    assert (run["kind"], run["iteration"]) == ("train", 2)
    assert run["best_ckpt"].endswith(".pth")
    assert 0 < run["best_score"] < 1
    assert run["start"] <= run["end"]
    assert 0 < run["seconds"] < 300

    # What MMEngine writes beside it is the config that ran, and can be run again.
    for file in (tmp_path / "work" / "quickstart.py", *(tmp_path / "work").glob("*/vis_data/config.py")):
        again = load_config(file)
        assert again.to_dict() == runner.cfg.to_dict()
        assert (again.test_length, again.lr, again.optim_wrapper.optimizer.lr) == (6, 0.5, 0.5)
    assert list((tmp_path / "work").glob("*/vis_data/events.out.tfevents*"))

    runner.test()
    (record,) = records(tmp_path / "work")
    assert [run["kind"] for run in record["runs"]] == ["train", "test"]
    assert record["data"].keys() == {"train", "val", "test"}
    assert record["runs"][0]["iteration"] == 2
    assert "iteration" not in record["runs"][1]


def test_a_run_that_fails_on_its_weights(tmp_path):
    cfg = config(tmp_path, by_epoch=False, load_from=str(tmp_path / "missing.pth"))
    with pytest.raises(Exception, match=r"missing\.pth"):
        build_runner(cfg).train()
    assert "missing.pth" in records(tmp_path)[0]["runs"][0]["outcome"]


def test_wrapped_and_lazy_sets(tmp_path):
    first, second = a_set(tmp_path / "first"), a_set(tmp_path / "second", 3)
    (tmp_path / "second" / "images" / "1.png").write_text("broken")
    second["on_error"] = "skip"
    wrapped = dict(
        type="RepeatDataset",
        times=3,
        dataset=dict(type="ConcatDataset", datasets=[first, second | dict(lazy_init=True)], lazy_init=True),
    )
    described = summarise(SeededDataset(DATASETS.build(wrapped), seed=0))
    assert (described["type"], described["times"], described["length"]) == ("RepeatDataset", 3, 18)
    (concat,) = described["datasets"]
    assert (concat["type"], concat["length"]) == ("ConcatDataset", 6)
    whole, part = concat["datasets"]
    assert (whole["name"], whole["length"], whole["image_dir"]) == ("first", 4, str(tmp_path / "first" / "images"))
    assert "24x20, foreground 20.8%" in whole["facts"]
    sizes = [path.stat().st_size for folder in ("images", "masks") for path in (tmp_path / "first" / folder).iterdir()]
    assert whole["files"] | dict(sha256="") == dict(number=8, missing=0, bytes=sum(sizes), sha256="")
    assert (part["length"], part["skipped"], list(part["skipped_files"])) == (2, 1, ["1"])
    json.dumps(described)


def test_the_digest_says_whether_data_is_the_same(tmp_path, monkeypatch):
    def digest(folder):
        return summarise(BinarySegDataset(data_root=str(folder)))["files"]["sha256"]

    for name in ("a", "b", "c", "d"):
        a_set(tmp_path / name)
    with open(tmp_path / "b/images/0.png", "ab") as file:
        file.write(b" ")
    for part in ("images", "masks"):
        (tmp_path / "c" / part / "3.png").rename(tmp_path / "c" / part / "4.png")
    same = digest(tmp_path / "a")
    assert digest(tmp_path / "d") == same  # moved
    assert len({same, digest(tmp_path / "b"), digest(tmp_path / "c")}) == 3
    # The files of a large set are not asked for their sizes.
    monkeypatch.setattr(summary, "MOST_SIZED_FILES", 7)
    monkeypatch.setattr(summary, "_size", None)
    files = summarise(BinarySegDataset(data_root=str(tmp_path / "a")))["files"]
    assert (files["number"], files["missing"], files["bytes"]) == (8, None, None)
    assert files["sha256"] == digest(tmp_path / "b") != digest(tmp_path / "c")


class ListOnly(torch.utils.data.Dataset):
    def __len__(self):
        return 7


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


def test_foreign_datasets():
    assert summarise(ListOnly()) == dict(type="ListOnly", length=7)
    assert summarise(Stream()) == dict(type="Stream", length=None)
    scenes = DATASETS.build(dict(type="CamouflageSceneDataset", length=3))
    assert summarise(ConcatDataset([scenes, scenes]))["datasets"][0]["files"]["missing"] == 3


def test_thousands_of_files_take_less_than_a_second(tmp_path):
    cfg = a_set(tmp_path / "set", 1)
    for part in ("images", "masks"):
        for index in range(1, 2000):
            (tmp_path / "set" / part / f"{index}.png").hardlink_to(tmp_path / "set" / part / "0.png")
    dataset = DATASETS.build(cfg)
    started = time.process_time()
    assert summarise(dataset)["files"]["number"] == 4000
    assert time.process_time() - started < 1


def test_repositories(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments], check=True)

    config_file = tmp_path / "configs" / "mine.py"
    config_file.parent.mkdir()
    config_file.write_text("a = 1\n")
    assert "config" not in environment.repositories(str(config_file))
    git("init", "-q")
    git("add", ".")
    assert environment.repositories(str(config_file))["config"]["commit"] is None
    git("commit", "-qm", "first")
    state = environment.repositories(str(config_file))["config"]
    assert state["folder"] == str(tmp_path.resolve())
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    config_file.write_text("a = 2\n")
    assert environment.repositories(str(config_file))["config"]["dirty"] is True
    # A package that lies in a repository without belonging to it says nothing about itself.
    (tmp_path / "package.py").write_text("")
    assert environment._repository(tmp_path / "package.py") is None
    assert "config" not in environment.repositories(str(ROOT / "configs/quickstart.py"))
