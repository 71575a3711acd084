"""Warnings before training about sets that share images and about few images that choose."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config

from samplug.config import load_config
from samplug.engine.hooks import SplitLeakageHook
from samplug.engine.hooks.early_stopping import EarlyStoppingHook
from samplug.engine.hooks.split_leakage import selection_warnings
from samplug.evaluation.choices import FEW_IMAGES, choices, few_images
from tests.conftest import ROOT

BEST = dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", save_best="mDice")))


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        ({}, []),
        (dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1))), []),
        (BEST, [("best checkpoint", "mDice")]),
        (
            dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", save_best=["S", "auto"]))),
            [("best checkpoint", "S"), ("best checkpoint", "auto")],
        ),
        (dict(custom_hooks=[dict(type="EarlyStoppingHook", monitor="CAMO/S")]), [("end of training", "CAMO/S")]),
        (dict(custom_hooks=[dict(type=EarlyStoppingHook, monitor="S")]), [("end of training", "S")]),
        (dict(default_hooks=dict(stop=dict(type="mmengine.EarlyStoppingHook", monitor="S"), timer=None)), [("end of training", "S")]),
        (dict(param_scheduler=dict(type="ReduceOnPlateauLR", monitor="MAE")), [("learning rate", "MAE")]),
        (dict(param_scheduler=[dict(type="LinearLR"), dict(type="ReduceOnPlateauMomentum")]), [("learning rate", "loss")]),
        (dict(param_scheduler=dict(a=[dict(type="ReduceOnPlateauLR", monitor="S")])), [("learning rate", "S")]),
        (dict(param_scheduler=None, custom_hooks=None, default_hooks=None), []),
    ],
)  # fmt: skip
def test_what_validation_chooses(cfg, expected):
    assert list(choices(cfg)) == list(choices(Config(cfg))) == expected


def warned(number, cfg=BEST):
    """Return the warnings before training with this number of validation images."""
    lines = []
    loop = None if number is None else SimpleNamespace(dataloader=SimpleNamespace(dataset=range(number)))
    logger = SimpleNamespace(warning=lines.append)
    runner = SimpleNamespace(cfg=Config(cfg), train_loop=loop, val_loop=loop, logger=logger)
    SplitLeakageHook().before_train(runner)
    return lines


def test_few_images_that_choose():
    (line,) = warned(FEW_IMAGES - 1)
    assert line == (
        "data: only 9 validation images choose the best checkpoint (by mDice), too few for a reliable choice: give "
        "validation more images, or use the last checkpoint"
    )
    assert warned(FEW_IMAGES) == warned(None) == warned(1, {}) == []
    both = {**BEST, "custom_hooks": [dict(type="EarlyStoppingHook", monitor="S")], "val_fraction": 0.1}
    (line,) = warned(1, both)
    assert "the best checkpoint (by mDice) and the end of training (by S)" in line
    assert "raise val_fraction" in line


def test_the_template_says_it():
    assert few_images(load_config(ROOT / "projects/template/my_task.py"), 3)


def folder(part, **settings):
    return dict(type="BinarySegDataset", data_root="data", part=part, **settings)


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({}, False),
        (dict(recursive=True), True),  # more names: another rank for each
        (dict(seg_map_suffix="_mask.png"), True),
        (dict(val_fraction=0.3), True),
        (dict(include="val_*"), False),  # files of its own
    ],
)
def test_parts_of_different_lists_of_names(settings, shared):
    loaders = {f"{part}_dataloader": dict(dataset=folder(part)) for part in ("train", "val")}
    loaders["val_dataloader"] = dict(dataset=folder("val", **settings))
    warnings = selection_warnings(Config(loaders))
    assert any("is also a validation set" in line for line in warnings) == shared


@pytest.mark.parametrize(("splits", "shared"), [(["val"], False), (["train", "val"], True)])
def test_folders_of_splits(splits, shared):
    def crops(*names):
        return dict(dataset=dict(type="BSDSCropDataset", data_root="data", splits=names))

    warnings = selection_warnings(Config(dict(train_dataloader=crops("train"), val_dataloader=crops(*splits))))
    assert any("is also a validation set" in line for line in warnings) == shared
