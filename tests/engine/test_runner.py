"""Weights in SamplugRunner: safe, strict, and from init_cfg and the checkpoint."""

import os
import shutil
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from mmengine.config import Config

from samplug.checkpoints import UnsafeCheckpointError, WeightsError
from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.engine.resume import latest_checkpoint
from samplug.registry import MODELS
from tests.builders import tiny_tssam_cfg
from tests.checkpoints.test_loading import _Touch, official_sam, randomised, released_ts_sam
from tests.conftest import ROOT
from tests.shrink import shrink


@pytest.fixture
def trunk(tmp_path):
    """A SAM file for the tiny encoder."""
    torch.manual_seed(1)
    encoder = MODELS.build(tiny_tssam_cfg(backbone=dict(img_size=32))["backbone"])
    torch.save(official_sam(randomised(encoder)), tmp_path / "sam.pth")
    return str(tmp_path / "sam.pth")


@pytest.fixture
def cfg(tmp_path, trunk):
    """A frozen tiny TS-SAM on generated scenes; call it for a fresh copy."""

    def make(test: bool = False, parts: dict | None = None, **changes) -> Config:
        config = shrink(load_config(ROOT / "configs/quickstart.py"), tmp_path / "work", tmp_path)
        for key, value in (parts or {}).items():
            config.model[key] = value
        config.model.backbone.update(frozen=True, init_cfg=dict(type="Pretrained", checkpoint=trunk))
        config.merge_from_dict(changes)
        for section in TRAIN_SECTIONS if test else ():
            config.pop(section, None)
        return config

    return make


def trained(cfg, **changes) -> str:
    runner = build_runner(cfg(**changes))
    runner.train()
    return (runner.work_dir and open(os.path.join(runner.work_dir, "last_checkpoint")).read()) or ""


def test_frozen_trunk_is_pretrained_unchanged_and_not_optimised(cfg, trunk):
    runner = build_runner(cfg())
    model = runner.train()
    for key, value in torch.load(trunk, weights_only=True).items():
        if key.startswith("image_encoder."):
            torch.testing.assert_close(model.backbone.state_dict()[key.removeprefix("image_encoder.")], value)
    groups = runner.optim_wrapper.optimizer.param_groups
    assert len(groups) == 1
    assert all(parameter.requires_grad for parameter in groups[0]["params"])


SEGMENTOR = dict(type="SAMSegmentor", adapter=None, decode_head=dict(type="SAMMaskDecoder"))
METHODS = {
    "ts-sam": {},
    "decoder-only": SEGMENTOR,
    "sam-adapter": {**SEGMENTOR, "adapter": dict(type="SAMAdapter", reduction=8)},
    "lora": {**SEGMENTOR, "adapter": dict(type="LoRAAdapter", dropout=0.1)},
}


@pytest.mark.parametrize("method", METHODS)
def test_frozen_parameters_can_be_left_out(cfg, tmp_path, trunk, method):
    cfg = partial(cfg, parts=METHODS[method])
    whole = trained(cfg)
    expected = build_runner(cfg(test=True, load_from=whole)).test()
    slim = trained(cfg, custom_hooks=[dict(type="OmitFrozenHook")])
    state = torch.load(slim, weights_only=False)["state_dict"]
    assert state
    assert not any(key.startswith("backbone.") for key in state)
    assert build_runner(cfg(test=True, load_from=slim)).test() == pytest.approx(expected, rel=1e-6)

    # Resuming takes the trunk from init_cfg too.
    resumed = cfg(resume=True, load_from=slim)
    resumed.train_cfg.max_iters = 3
    build_runner(resumed).train()

    other = tmp_path / "other.pth"
    torch.save({key: value + 0.01 for key, value in torch.load(trunk, weights_only=True).items()}, other)
    with pytest.raises(WeightsError, match="another frozen encoder"):
        build_runner(cfg(test=True, load_from=slim, **{"model.backbone.init_cfg.checkpoint": str(other)})).test()
    missing = cfg(test=True, load_from=slim)
    missing.model.backbone.init_cfg = None
    with pytest.raises(WeightsError, match="missing in the file: backbone"):
        build_runner(missing).test()


def test_whole_checkpoint_needs_no_pretrained_file(cfg, trunk):
    whole = trained(cfg)
    os.remove(trunk)
    assert build_runner(cfg(test=True, load_from=whole)).test()


def test_released_layout_is_a_checkpoint_too(cfg, tmp_path, trunk):
    whole = trained(cfg)
    expected = build_runner(cfg(test=True, load_from=whole)).test()
    runner = build_runner(cfg(test=True, load_from=whole))
    runner.test()
    torch.save(released_ts_sam(runner.model), tmp_path / "released.pth")
    os.remove(trunk)
    assert build_runner(cfg(test=True, load_from=str(tmp_path / "released.pth"))).test() == pytest.approx(expected)


def test_test_without_weights_stops(cfg, tmp_path, trunk):
    with pytest.raises(WeightsError, match="init_cfg supplies no weights for"):
        build_runner(cfg(test=True, load_from="none")).test()
    with pytest.raises(WeightsError, match="does not fit TSSAM"):
        build_runner(cfg(test=True, load_from=trunk)).test()


def test_none_tests_what_init_cfg_gives(cfg, tmp_path):
    checkpoint = trained(cfg)
    expected = build_runner(cfg(test=True, load_from=checkpoint)).test()
    config = cfg(test=True, load_from="none")
    config.model.init_cfg = dict(type="Pretrained", checkpoint=checkpoint)
    assert build_runner(config).test() == pytest.approx(expected, rel=1e-6)


def test_untrained_is_a_named_choice(cfg):
    assert set(build_runner(cfg(test=True, load_from="untrained")).test()) >= {"S", "MAE", "IoU"}


@pytest.mark.parametrize("payload", ["pickle", "config"])
@pytest.mark.parametrize("way", ["resume", "load_from", "init_cfg", "test"])
def test_hostile_checkpoint_runs_nothing(cfg, tmp_path, payload, way):
    mark = tmp_path / "ran"
    content = torch.load(trained(cfg), weights_only=False)
    if payload == "pickle":
        content["extra"] = _Touch(str(mark))
    else:
        content["meta"]["config"] = f"import os\nos.mkdir({str(mark)!r})\ngpu_ids = [0]\n"
    evil = tmp_path / "work/evil.pth"
    torch.save(content, evil)
    if way == "resume":
        config = cfg(resume=True, load_from=str(evil))
    elif way == "init_cfg":
        config = cfg()
        config.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=str(evil))
    else:
        config = cfg(test=way == "test", load_from=str(evil))
    runner = build_runner(config)
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pth"):
        runner.test() if way == "test" else runner.train()
    assert not mark.exists()


def test_resume_needs_training_state(cfg, tmp_path):
    content = torch.load(trained(cfg), weights_only=False)
    torch.save(content["state_dict"], tmp_path / "work/weights.pth")
    with pytest.raises(WeightsError, match=r"holds no training state.*load_from="):
        build_runner(cfg(resume=True, load_from=str(tmp_path / "work/weights.pth"))).train()


def test_resume_equals_unbroken(cfg):
    """Optimiser, schedule and weights are restored: the third iteration starts from the same state."""
    whole = torch.load(trained(cfg), weights_only=False)
    runner = build_runner(cfg(resume=True, load_from=trained(cfg)))
    runner.train()
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, whole["state_dict"][name], rtol=0, atol=0)
    states = runner.optim_wrapper.state_dict()["state"], whole["optimizer"]["state"]
    for index, state in states[1].items():
        torch.testing.assert_close(states[0][index]["exp_avg"], state["exp_avg"])


def test_resume_without_a_checkpoint_starts_from_load_from(cfg, tmp_path):
    """As a job does that always passes --resume and starts for the first time."""
    with pytest.raises(WeightsError, match=r"nowhere\.pth does not exist"):
        build_runner(cfg(resume=True, start_from=str(tmp_path / "nowhere.pth"))).train()
    first = Path(trained(cfg)).rename(tmp_path / "first.pth")
    runner = build_runner(cfg(resume=True, start_from=str(first), work_dir=str(tmp_path / "new")))
    with patch.object(runner, "load_checkpoint", wraps=runner.load_checkpoint) as load:
        runner.train()
    load.assert_called_once_with(str(first))
    assert runner.iter == 2


def test_resume_in_a_copied_folder_stays_in_it(cfg, tmp_path):
    newest = Path(trained(cfg))
    copy = Path(shutil.copytree(newest.parent, tmp_path / "copy"))
    assert latest_checkpoint(copy)[0] == copy / newest.name
    (copy / "last_checkpoint").write_text(str(tmp_path / "pipe.pth"))
    os.mkfifo(tmp_path / "pipe.pth")
    assert latest_checkpoint(copy)[0] == copy / newest.name


def test_nothing_to_train_is_an_error(cfg):
    config = cfg()
    runner = build_runner(config)
    runner.model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing would be trained"):
        runner.train()


def test_no_partial_checkpoint_is_left(cfg, monkeypatch):
    runner = build_runner(cfg())

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("mmengine.runner.runner.save_checkpoint", fail)
    with pytest.raises(OSError, match="No space"):
        runner.train()
    assert not [name for name in os.listdir(runner.work_dir) if name.startswith("iter_")]


def test_a_test_leaves_the_config_of_the_training(cfg):
    """In the same work directory, as with the default one."""
    checkpoint = trained(cfg)
    work = os.path.dirname(checkpoint)
    (file,) = (name for name in os.listdir(work) if name.endswith(".py"))
    build_runner(cfg(test=True, load_from=checkpoint)).test()
    assert "optim_wrapper" in Config.fromfile(os.path.join(work, file))


def test_runners_of_one_second_share_nothing(cfg, tmp_path):
    """MMEngine names logs and message hubs by the second."""
    runners = [build_runner(cfg(work_dir=str(tmp_path / name))) for name in ("a", "b", "c")]
    assert len({runner.timestamp for runner in runners}) == 3
    assert len({id(runner.message_hub) for runner in runners}) == 3
    assert [len(list((tmp_path / name).glob("*/*.log"))) for name in ("a", "b", "c")] == [1, 1, 1]
