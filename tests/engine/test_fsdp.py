"""Sharded training (FSDP), without GPUs: two processes over gloo, and one alone."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import PixelData
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp._common_utils import clean_tensor_name

from samplug.checkpoints import WeightsError, read_checkpoint
from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.imports import quiet_optional_operators
from tests.builders import tiny_tssam_cfg
from tests.conftest import ROOT
from tests.engine.test_distributed import shell
from tests.processes import run_python
from tests.ranks import end, run_ranks
from tests.shrink import shrink

with quiet_optional_operators():
    from mmseg.structures import SegDataSample

STRATEGY = dict(type="FSDPStrategy", units=["backbone.blocks"])


@pytest.fixture(autouse=True)
def _leave_process_group():
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.fixture
def cfg(tmp_path):
    """A tiny TS-SAM on generated scenes, trained whole and sharded; call it for a fresh copy."""

    def make(**changes) -> Config:
        config = shrink(load_config(ROOT / "configs/quickstart.py"), tmp_path / "work", tmp_path)
        config.strategy = STRATEGY
        config.merge_from_dict(changes)
        return config

    return make


def write(config: Config, path: Path) -> Path:
    for key in ("work_dir", "load_from", "resume"):
        config.pop(key, None)
    config.dump(path)
    return path


def state_of(path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def test_two_processes_train_resume_and_test(cfg, tmp_path):
    """An interrupted run ends with the weights of an unbroken one, and its checkpoint is like any other."""
    config = write(cfg(), tmp_path / "sharded.py")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    shell("dist_train.sh", config, 2, "--work-dir", whole)
    assert (whole / "last_checkpoint").read_text().endswith("iter_2.pth")
    assert not list(whole.glob(".*partial"))

    ordinary = MODELS.build(cfg().model)
    expected = state_of(whole / "iter_2.pth")
    assert {name: value.shape for name, value in expected.items()} == {
        name: value.shape for name, value in ordinary.state_dict().items()
    }
    shell("dist_train.sh", config, 2, "--work-dir", broken, "--resume", whole / "iter_1.pth")
    again = state_of(broken / "iter_2.pth")
    for name, value in expected.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    assert any((state_of(whole / "iter_1.pth")[name] != value).any() for name, value in expected.items())

    run = run_python("tools/test.py", config, whole / "iter_2.pth", "--work-dir", tmp_path / "test", cwd=ROOT)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "FullyShardedDataParallel" not in run.stdout + run.stderr


def test_config_trains_in_two_processes(cfg, tmp_path):
    """The published config, at a tiny size: bfloat16 computation, float32 in the checkpoint."""
    (path,) = (ROOT / "configs/tssam").glob("ts-sam-full_*.py")
    config = shrink(load_config(path), tmp_path, tmp_path)
    config.train_dataloader.dataset = cfg().train_dataloader.dataset
    for section in ("val_dataloader", "val_evaluator", "val_cfg"):
        config.pop(section)
    config.default_hooks.checkpoint.save_best = None
    config.train_cfg.update(max_epochs=1, val_interval=10)
    run = shell("dist_train.sh", write(config, tmp_path / path.name), 2, "--work-dir", tmp_path / "work")
    assert "NO_SHARD" not in run.stderr
    state = state_of(tmp_path / "work/epoch_1.pth")
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
    assert all(value.isfinite().all() for value in state.values())


def two_steps(model: nn.Module, optimizer: OptimWrapper, part: int, ranks: int) -> None:
    """Two training steps on the samples of one rank; the gradients of the second stay.

    BatchNorm is frozen, since its statistics are of a rank's own batch.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    generator = torch.Generator().manual_seed(1)
    for step in range(2):
        images = torch.randint(0, 256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
        shares = torch.tensor([0.1, 0.2, 0.5, 0.9])[:, None, None, None]
        truth = (torch.rand(4, 1, 32, 32, generator=generator) < shares).long()
        chosen = range(part * 4 // ranks, (part + 1) * 4 // ranks)
        samples = []
        for index in chosen:
            samples.append(SegDataSample(metainfo=dict(img_shape=(32, 32), ori_shape=(32, 32))))
            samples[-1].gt_sem_seg = PixelData(data=truth[index])
        if step == 1:
            optimizer.zero_grad = lambda: None
        model.train_step(dict(inputs=[images[index] for index in chosen], data_samples=samples), optimizer)


def model_cfg(weights: str, **backbone) -> dict:
    return tiny_tssam_cfg(
        backbone=dict(img_size=32, frozen=False, **backbone), init_cfg=dict(type="Pretrained", checkpoint=weights)
    )


SGD = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0))


@pytest.mark.parametrize("sharding", ["FULL_SHARD", "SHARD_GRAD_OP"])
def test_two_processes_equal_one(sharding, tmp_path):
    """Two sharded processes, with activation checkpointing, have the gradients of one ordinary process with the whole batch."""
    torch.manual_seed(1)
    weights = str(tmp_path / "weights.pth")
    model = MODELS.build(tiny_tssam_cfg(backbone=dict(img_size=32)))
    model.init_weights()
    for name, parameter in model.named_parameters():
        if "res_gate" in name:  # they start near zero
            nn.init.normal_(parameter, std=0.3)
    torch.save(model.state_dict(), weights)
    run_ranks("tests.engine.test_fsdp", sharding, weights, tmp_path)
    found = torch.load(tmp_path / "gradients.pth", weights_only=True)
    model = MODELS.build(model_cfg(weights))
    model.init_weights()
    # In float64: of the many float32 gradients that nearly cancel, rounding is a larger share than the tolerance.
    model.double()
    optimizer = build_optim_wrapper(model, SGD)
    two_steps(model, optimizer, 0, 1)
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-4, atol=1e-4 * value.abs().max().item(), msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len([name for name, value in expected.items() if value.abs().max() > 1e-5]) > len(expected) / 2


def main(sharding: str, weights: str, folder: str) -> None:
    from mmengine.registry import init_default_scope

    from samplug.engine import FSDPStrategy

    init_default_scope("samplug")
    strategy = FSDPStrategy(
        units=["backbone.blocks"], model_wrapper=dict(sharding_strategy=sharding), work_dir=folder,
        env_kwargs=dict(launcher="pytorch", randomness=dict(seed=0)),
    )  # fmt: skip
    strategy.load_whole = lambda model: model.double()
    model, optimizer = strategy.prepare(model_cfg(weights, with_cp=True), optim_wrapper=dict(SGD))
    held = sum(parameter.numel() for parameter in model.parameters())
    whole = sum(parameter.numel() for parameter in MODELS.build(model_cfg(weights)).parameters())
    assert held < 0.6 * whole, "not sharded"
    two_steps(model, optimizer, strategy.rank, 2)
    with FullyShardedDataParallel.summon_full_params(model, with_grads=True):
        gradients = {clean_tensor_name(name): parameter.grad.clone() for name, parameter in model.named_parameters()}
    if strategy.rank == 0:
        torch.save(gradients, f"{folder}/gradients.pth")


def test_one_process_needs_no_launcher(cfg, tmp_path):
    """It trains, keeps what was there when a save fails, resumes with other process numbers' files, and starts from weights."""
    runner = build_runner(cfg())
    model = runner.train()
    assert type(model).__name__ == "MMFullyShardedDataParallel"
    with pytest.raises(WeightsError, match="sharded already"):
        runner.load_checkpoint(str(tmp_path / "work/iter_2.pth"))

    start = state_of(tmp_path / "work/iter_1.pth")
    frozen_rate = cfg(load_from=str(tmp_path / "work/iter_1.pth"), **{"optim_wrapper.optimizer.lr": 0.0})
    frozen_rate.work_dir = str(tmp_path / "second")
    build_runner(frozen_rate).train()
    for name, value in state_of(tmp_path / "second/iter_2.pth").items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(value, start[name], rtol=0, atol=0)


def test_sharded_and_ordinary_checkpoints_test_alike(cfg, tmp_path):
    build_runner(cfg()).train()
    scores = []
    for sharded in (False, True):
        config = cfg(load_from=str(tmp_path / "work/iter_2.pth"))
        for section in TRAIN_SECTIONS:
            if section != "strategy" or not sharded:
                config.pop(section, None)
        scores.append(build_runner(config).test())
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_failed_save_leaves_no_checkpoint(cfg, tmp_path, monkeypatch):
    def fail(content, path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    runner = build_runner(cfg())
    monkeypatch.setattr("mmengine.runner.checkpoint.save_checkpoint", fail)
    with pytest.raises(OSError, match="No space"):
        runner.train()
    assert not list((tmp_path / "work").glob("*.pth"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(strategy=dict(units=["backbone.layers"])), "no list of modules of TSSAM; it has backbone.blocks"),
        (dict(strategy=dict(sync_bn="torch")), "sync_bn needs GPUs"),
        (dict(strategy=dict(type="DDPStrategy")), "'DDPStrategy' is not samplug's FSDPStrategy"),
        (dict(custom_hooks=[dict(type="OmitFrozenHook")]), "OmitFrozenHook needs the whole model"),
        (dict(custom_hooks=[dict(type="EMAHook")]), "EMAHook needs the whole model"),
        (dict(optim_wrapper=dict(clip_grad=dict(max_norm=1.0))), "clip_grad by norm is not possible"),
    ],
)
def test_mistakes(changes, message, cfg):
    with pytest.raises(ConfigError, match=message):
        build_runner(cfg(**changes)).train()


def test_weights_must_fit(cfg, tmp_path):
    torch.save({"backbone.pos_embed": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit TSSAM"):
        build_runner(cfg(load_from=str(tmp_path / "other.pth"))).train()
    with pytest.raises(WeightsError, match="holds no training state"):
        build_runner(cfg(load_from=str(tmp_path / "other.pth"), resume=True)).train()


if __name__ == "__main__":
    end(lambda: main(*sys.argv[1:]))
