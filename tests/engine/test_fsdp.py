"""Sharded training (FSDP), without GPUs: two processes over gloo, and one alone."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import PixelData
from torch import nn

from samplug.checkpoints import WeightsError, read_checkpoint
from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.engine import FSDPStrategy
from samplug.engine.fsdp import gathered, is_sharded
from samplug.engine.launch import join_on_cpu
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


SGD = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0), clip_grad=dict(max_norm=0.5))


@pytest.mark.parametrize("sharding", ["FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD"])
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

    init_default_scope("samplug")
    join_on_cpu("pytorch")
    model = MODELS.build(model_cfg(weights, with_cp=True))
    model.init_weights()
    model.double()
    optimizer = build_optim_wrapper(model, dict(SGD))
    whole = sum(parameter.numel() for parameter in model.parameters())
    FSDPStrategy(model_wrapper=dict(sharding_strategy=sharding)).shard(model, optimizer)
    held = sum(parameter.to_local().numel() for parameter in model.parameters())
    assert held < 0.6 * whole, "not sharded"
    rank = torch.distributed.get_rank()
    two_steps(model, optimizer, rank, 2)
    gradients = gathered({name: parameter.grad for name, parameter in model.named_parameters()})
    if rank == 0:
        torch.save(gradients, f"{folder}/gradients.pth")


def test_one_process_needs_no_launcher(cfg, tmp_path):
    """It trains, keeps what was there when a save fails, resumes with other process numbers' files, and starts from weights."""
    runner = build_runner(cfg())
    model = runner.train()
    assert is_sharded(model)
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


@pytest.mark.parametrize("sharded_first", [True, False])
def test_sharded_and_ordinary_runs_resume_each_other(cfg, tmp_path, sharded_first):
    """In the middle of an accumulated step, with the frozen encoder left out of the checkpoints."""
    encoder = MODELS.build(cfg().model).backbone
    torch.save({f"backbone.{name}": value for name, value in encoder.state_dict().items()}, tmp_path / "encoder.pth")

    def end_of(name: str, sharded: bool, **changes) -> dict[str, torch.Tensor]:
        config = cfg(
            custom_hooks=[dict(type="OmitFrozenHook")],
            work_dir=str(tmp_path / name),
            experiment_name=str(tmp_path / name),
            **changes,
        )
        config.model.backbone.update(
            frozen=True, init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "encoder.pth"))
        )
        config.optim_wrapper = dict(SGD, accumulative_counts=2)
        if not sharded:
            config.pop("strategy")
        build_runner(config).train()
        return state_of(tmp_path / name / "iter_2.pth")

    expected = end_of("whole", sharded_first)
    found = end_of("resumed", not sharded_first, resume=True, load_from=str(tmp_path / "whole/iter_1.pth"))
    assert not any(name.startswith("backbone.") for name in expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    start = state_of(tmp_path / "whole/iter_1.pth")
    trained = dict(MODELS.build(cfg().model).named_parameters()).keys() & expected.keys()
    assert all(torch.isfinite(value).all() for value in expected.values())
    assert sum(not torch.equal(expected[name], start[name]) for name in trained) > len(trained) / 2


def test_failed_save_leaves_no_checkpoint(cfg, tmp_path, monkeypatch):
    def fail(content, path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    runner = build_runner(cfg())
    monkeypatch.setattr("mmengine.runner.runner.save_checkpoint", fail)
    with pytest.raises(OSError, match="No space"):
        runner.train()
    assert not list((tmp_path / "work").glob("*.pth"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(strategy=dict(units=["backbone.layers"])), "no list of modules of TSSAM; it has backbone.blocks"),
        (dict(sync_bn="torch"), "sync_bn needs GPUs"),
        (dict(strategy=dict(sync_bn="torch")), "strategy.sync_bn is sync_bn now"),
        (dict(strategy=dict(model_wrapper=dict(cpu_offload=True))), "strategy.model_wrapper has no 'cpu_offload'"),
        (dict(strategy=dict(model_wrapper=dict(sharding_strategy="NO_SHARD"))), "'NO_SHARD' is unknown"),
        (dict(runner_type="ShardedRunner"), "ShardedRunner is SamplugRunner now"),
        (dict(strategy=dict(type="DDPStrategy")), "'DDPStrategy' is not samplug's FSDPStrategy"),
        (dict(custom_hooks=[dict(type="EMAHook")]), "EMAHook needs the whole model"),
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
