"""Weights that are not there: the message names the command or the setting that helps."""

import pytest
from mmengine.config import Config

from samplug.checkpoints.errors import WeightsError
from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.engine.build_errors import named_in
from samplug.engine.missing_weights import with_remedy
from samplug.registry import MODELS
from tests.builders import tiny_tssam_cfg
from tests.conftest import ROOT
from tests.engine.test_interruption import config

URL = "http://127.0.0.1:9/sam.pth"


def message(error, **cfg):
    return str(with_remedy(WeightsError(error), Config(cfg)))


def test_the_quickstart_is_named(tmp_path):
    cfg = config(tmp_path, False)
    cfg.load_from = load_config(ROOT / "projects/small/ts-sam-small_folders-128.py").load_from
    with pytest.raises(
        WeightsError, match=r"quickstart_results/iter_1300\.pth does not exist.*; `make quickstart` writes it$"
    ):
        build_runner(cfg).train()


@pytest.mark.parametrize("source", [URL, "nowhere/sam.pth"])
def test_the_setting_is_named_when_a_model_is_built(source):
    cfg = Config(dict(model=tiny_tssam_cfg(), sam_checkpoint=source))
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=source)
    with (
        pytest.raises(WeightsError, match=r"^[^;]+; name another file with --cfg-options sam_checkpoint=FILE$"),
        named_in(cfg),
        named_in(cfg),  # said once
    ):
        MODELS.build(cfg.model).init_weights()
    assert (
        load_config(
            ROOT / "projects/template/my_task.py", {"sam_checkpoint": "a/b.pth"}
        ).model.backbone.init_cfg.checkpoint
        == "a/b.pth"
    )


def test_places_without_a_variable():
    error = f"weights: {URL} could not be downloaded: no network"
    model = dict(
        backbone=dict(init_cfg=dict(checkpoint=f"{URL}#sha256=1234567")),
        decode_head=dict(init_cfg=dict(checkpoint="other/file.pth")),
    )
    assert message(error, model=model).endswith("--cfg-options model.backbone.init_cfg.checkpoint=FILE")
    assert message(error, model=dict(type="x")) == error
    assert message(error, load_from=URL) == error  # CHECKPOINT of a test is no setting


def test_other_errors_stay():
    error = "weights: a/b.pth is no checkpoint"
    assert message(error, sam_checkpoint="a/b.pth") == error
