"""A test run over several sets: a row for each, by the base config of a published bundle."""

import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.datasets.synthetic import camouflage_scene
from samplug.evaluation.folders import evaluate
from samplug.evaluation.protocols import Saliency
from tests.builders import tiny_tssam_cfg
from tests.conftest import ROOT

SETS = ("CAMO", "CHAMELEON", "COD10K", "NC4K")


@pytest.fixture
def bundle(tmp_path):
    for number, name in enumerate(SETS):
        for part in ("Imgs", "GT"):
            (tmp_path / "TestDataset" / name / part).mkdir(parents=True)
        for index in range(2 + number):
            image, mask = camouflage_scene(number, index, 40)
            folder = tmp_path / "TestDataset" / name
            cv2.imwrite(str(folder / "Imgs" / f"{index}.jpg"), image[: 30 + index])
            cv2.imwrite(str(folder / "GT" / f"{index}.png"), mask[: 30 + index] * np.uint8(255))
    return tmp_path


def test_a_row_for_each_set(bundle, tmp_path):
    options = dict(data_root=str(bundle), img_size=32, num_workers=0, batch_size=2)
    cfg = Config.fromfile(ROOT / "configs/_base_/default_runtime.py")
    cfg.merge_from_dict(dict(load_config(ROOT / "configs/_base_/datasets/cod_tssam-scores.py", options)))
    for section in TRAIN_SECTIONS:
        cfg.pop(section, None)
    cfg.update(
        model=tiny_tssam_cfg(backbone=dict(img_size=32)),
        test_cfg=dict(type="TestLoop"),
        work_dir=str(tmp_path / "w"),
        load_from="untrained",
    )
    for metric, file in zip(cfg.test_evaluator, ("s.json", "t.json"), strict=True):
        metric.out_file = str(tmp_path / file)
    cfg.default_hooks.visualization = dict(type="OverlayHook", mask_dir=str(tmp_path / "masks"))
    cfg.launcher = "none"
    metrics = build_runner(cfg).test()
    for number, name in enumerate(SETS):
        report = json.loads((tmp_path / f"s.{name}.json").read_text())
        assert len(report["images"]) == 2 + number
        as_tssam = json.loads((tmp_path / f"t.{name}.json").read_text())
        for metric in ("S", "wF"):
            assert metrics[f"{name}/{metric}"] == pytest.approx(report["summary"][metric])
            assert metrics[f"{name}/tssam/{metric}"] == pytest.approx(as_tssam["summary"][metric])
        # The written masks give the same scores.
        truths = Saliency().find_ground_truths(bundle / "TestDataset" / name / "GT")
        methods = {"m": Saliency().find_predictions(str(tmp_path / "masks" / name), truths)}
        again = evaluate(methods, truths, Saliency())["m"]
        assert again.summary == pytest.approx(report["summary"], abs=1e-9)


def test_sets_of_one_name_are_refused(bundle):
    """By default a set is called as its folder: two of them would be one row."""
    from samplug.engine.runner import SamplugRunner
    from samplug.utils.errors import ConfigError

    def loader(*names):
        sets = [
            dict(
                type="BinarySegDataset",
                data_root=str(bundle / "TestDataset" / part),
                image_dir="Imgs",
                mask_dir="GT",
                name=name,
                pipeline=[],
            )
            for part, name in zip(("CAMO", "NC4K", "CAMO"), names, strict=True)
        ]
        return dict(
            batch_size=1,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(type="ConcatDataset", datasets=sets),
        )

    with pytest.raises(ConfigError, match=r"both called 'same'.*name="):
        SamplugRunner.build_dataloader(loader("same", "same", "same"), seed=0)
    assert len(SamplugRunner.build_dataloader(loader("a", "b", "a"), seed=0)) == 2 + 5 + 2  # a set may be there twice
