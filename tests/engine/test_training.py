"""Resuming, failures, precision and selection in training."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import nn

from samplug.commands.common import build_runner
from samplug.engine.hooks import EarlyStoppingHook
from samplug.engine.hooks.deferred_losses import DeferredLosses
from samplug.engine.hooks.non_finite import NonFiniteLoss
from samplug.engine.hooks.on_failure import on_failure
from samplug.engine.hooks.split_leakage import selection_warnings
from samplug.engine.run_errors import LoaderDied, OutOfMemory, SaveError, memory_advice
from samplug.registry import HOOKS, MODELS, OPTIM_WRAPPERS
from samplug.utils.errors import ConfigError
from tests.builders import tiny_tssam_cfg
from tests.engine.test_interruption import config


def with_validation(cfg, interval=2, **hook):
    """Validation every ``interval`` iterations or epochs, on three scenes."""
    pipeline = [
        dict(type="LoadImage"), dict(type="mmseg.Resize", scale=(32, 32), keep_ratio=False), dict(type="LoadBinaryMask"),
        dict(type="PackSegInputs"),
    ]  # fmt: skip
    cfg.val_dataloader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="CamouflageSceneDataset", length=3, size=40, seed=7, pipeline=pipeline),
    )
    cfg.train_cfg.val_interval = interval
    cfg.val_cfg, cfg.val_evaluator = dict(type="ValLoop"), [dict(type="SaliencyMetric", workers=0)]
    cfg.default_hooks.checkpoint.update(hook)
    return cfg


class At(Hook):
    """Calls a function after one iteration."""

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration:
            self.action(runner)


def run(cfg, *hooks):
    runner = build_runner(cfg)
    for hook in hooks:
        runner.register_hook(hook, "LOWEST")
    runner.train()
    return runner


class Stop(Exception):
    pass


def stop(_):
    raise Stop


@pytest.fixture(scope="module", autouse=True)
def own_losses():
    """Losses of this file, in the registry only as long as its tests run."""
    for loss in (Drawing, WithSpare):
        MODELS.register_module(module=loss)
    yield
    for loss in (Drawing, WithSpare):
        MODELS.module_dict.pop(loss.__name__)


def log_of(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("*/*.log")))


# --- resuming ------------------------------------------------------------------------------------------------------------------


class Drawing(nn.Module):
    """A loss that draws in its forward pass, as dropout or simulated prompts do."""

    def __init__(self):
        super().__init__()
        self.inner = MODELS.build(dict(type="bce_iou"))

    def forward(self, logits, target):
        import random

        import numpy as np

        factor = torch.rand(()) + random.random() + np.random.rand()
        return {name: value * factor for name, value in self.inner(logits, target).items()}


@pytest.mark.parametrize(
    ("by_epoch", "stop_at", "interval", "accumulate", "num_workers"),
    [(False, 5, 2, 1, 2), (True, 7, 1, 1, 2), (True, 7, 1, 4, 0), (False, 4, 3, 2, 0)],
)
def test_generators_position_and_gradients_survive(tmp_path, by_epoch, stop_at, interval, accumulate, num_workers):
    """Stopped within an epoch, or within an accumulated step: the same end, by a model that draws random numbers."""

    def cfg(name, **changes):
        made = config(tmp_path / name, by_epoch, num_workers, **changes)
        made.default_hooks.checkpoint.update(by_epoch=False, interval=interval, max_keep_ckpts=-1)
        made.optim_wrapper.accumulative_counts = accumulate
        made.model.loss = dict(type="Drawing")
        return with_validation(made, interval=1 if by_epoch else 2)

    expected = run(cfg("whole")).model.state_dict()
    with pytest.raises(Stop):
        run(cfg("cut"), At(stop_at, stop))
    torch.manual_seed(99)
    resumed = run(cfg("cut", resume=True))
    assert resumed.iter == 8
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_resuming_reads_no_sample_again(tmp_path, monkeypatch):
    from samplug.datasets.camouflage import CamouflageSceneDataset

    cfg = config(tmp_path, by_epoch=True)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1)
    with pytest.raises(Stop):
        run(cfg, At(3, stop))
    read = []
    original = CamouflageSceneDataset.__getitem__
    monkeypatch.setattr(
        CamouflageSceneDataset, "__getitem__", lambda self, i: (read.append(int(i)), original(self, i))[1]
    )
    cfg = config(tmp_path, by_epoch=True, resume=True)
    cfg.train_cfg.max_epochs = 1
    run(cfg)
    assert len(read) == 2  # iteration 4; the checkpoint of iteration 3 is there


def test_another_batch_size_within_an_epoch(tmp_path):
    cfg = config(tmp_path, by_epoch=True)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3)
    with pytest.raises(Stop):
        run(cfg, At(4, stop))
    changed = config(tmp_path, by_epoch=True, resume=True)
    changed.train_dataloader.batch_size = 4
    with pytest.raises(ConfigError, match="6 samples into an epoch, which is no multiple of the 4"):
        run(changed)


def test_killed_validation_is_done_on_resuming(tmp_path):
    """The best score is that of the unbroken run, whether the run ends in the validation or just after it."""

    def cfg(name, **changes):
        made = config(tmp_path / name, False, **changes)
        made.optim_wrapper.optimizer.lr = 0.05  # scores go up and down
        return with_validation(made, save_best="MAE")

    class EndsIn(Hook):
        def __init__(self, when):
            self.when, self.validations = when, 0

        def before_val_epoch(self, runner):
            self.validations += 1
            if self.when == "before" and self.validations == 2:
                raise Stop

        def after_val_epoch(self, runner, metrics=None):
            if self.when == "after" and self.validations == 2:
                raise Stop

    def best(runner):
        info = runner.message_hub.runtime_info
        return info["best_score"], info["best_ckpt"].rpartition("/")[2]

    expected = best(run(cfg("whole")))
    for when in ("before", "after"):
        with pytest.raises(Stop):
            run(cfg(when), EndsIn(when))
        resumed = run(cfg(when, resume=True))
        assert best(resumed) == expected
        assert [path.name for path in (tmp_path / when).glob("best*.pth")] == [expected[1]]


def test_a_validation_counts_once_for_a_plateau_schedule(tmp_path):
    """A run that ends after a validation with a new best score, which is written into the checkpoint, does it again."""

    def cfg(name, **changes):
        made = with_validation(config(tmp_path / name, True, **changes), 1, save_best="MAE")
        made.train_cfg.max_epochs = 2
        made.param_scheduler = [dict(type="ReduceOnPlateauLR", monitor="MAE", rule="less", patience=5)]
        return made

    class EndsAfter(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 1:
                raise Stop

    def state(runner):
        return {key: runner.param_schedulers[0].state_dict()[key] for key in ("best", "num_bad_epochs", "last_step")}

    expected = state(run(cfg("whole")))
    with pytest.raises(Stop):
        run(cfg("cut"), EndsAfter())
    assert state(run(cfg("cut", resume=True))) == expected


# --- losses and weights that are no numbers --------------------------------------------------------------------------------------


def test_loss_that_is_no_number(tmp_path):
    def poison(runner):
        with torch.no_grad():
            next(p for p in runner.model.parameters() if p.requires_grad).fill_(math.nan)

    with pytest.raises(
        NonFiniteLoss, match=r"iteration 6 \(loss nan.*files of the batch: .*scene.*iter_4\.pth"
    ) as caught:
        run(config(tmp_path, False), At(5, poison))
    assert "optim_wrapper.clip_grad.max_norm=1.0" in str(caught.value)
    assert (tmp_path / "last_checkpoint").read_text().endswith("iter_4.pth")


def test_losses_are_read_when_they_are_logged(tmp_path, monkeypatch):
    """Two transfers a log line, one of each hook, and none in the iterations between; a bad loss is still named, and not saved."""
    read = []
    original = DeferredLosses.read_losses
    monkeypatch.setattr(
        DeferredLosses,
        "read_losses",
        lambda self, runner: (read.append((runner.iter + 1, len(self._unread))), original(self, runner)),
    )
    seen = []
    monkeypatch.setattr(torch.Tensor, "item", lambda self: seen.append(self) or self.tolist())
    cfg = config(tmp_path / "good", False)
    cfg.default_hooks.logger.interval = 3
    run(cfg)
    assert [entry for entry in read if entry[1]] == [
        (iteration, number) for iteration, number in ((2, 2), (3, 1), (4, 1), (6, 2), (8, 2)) for _ in range(2)
    ]
    (log,) = (tmp_path / "good").glob("*/vis_data/scalars.json")
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in logged if "loss" in line] == [3, 6]
    assert not [value for value in seen if value.requires_grad]

    def poison(runner):
        if runner.iter == 4:
            with torch.no_grad():
                next(p for p in runner.model.parameters() if p.requires_grad).fill_(math.nan)

    cfg = config(tmp_path / "bad", False)
    cfg.default_hooks.logger.interval = 100
    cfg.default_hooks.checkpoint.interval = 4
    with pytest.raises(NonFiniteLoss, match=r"iteration 6 \(loss nan.*files of the batch: .*scene.*iter_4\.pth"):
        run(cfg, At(5, poison))
    assert [path.name for path in (tmp_path / "bad").glob("*.pth")] == ["iter_4.pth"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    def poison(runner):
        with torch.no_grad():
            next(p for p in runner.model.parameters() if p.requires_grad).fill_(math.inf)

    runner = build_runner(config(tmp_path, False))
    runner.register_hook(At(4, poison), "HIGHEST")  # before the checkpoint of this iteration
    with pytest.raises(NonFiniteLoss, match=r"entries are not finite after iteration 4 .*iter_2\.pth"):
        runner.train()
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_2.pth"]
    assert not list(tmp_path.glob(".*partial"))


# --- failures from outside -------------------------------------------------------------------------------------------------------


def test_memory_that_runs_out(tmp_path):
    """A real failure of the allocator; the advice names only settings that the run does not use, with numbers."""

    def greedy(runner):
        runner.model.train_step = lambda *_, **__: torch.empty(2**55)

    with pytest.raises(OutOfMemory) as caught:
        run(config(tmp_path, False), At(3, greedy))
    message = str(caught.value)
    assert "train_dataloader.batch_size=1 optim_wrapper.accumulative_counts=2" in message
    assert "model.backbone.with_cp=True" in message
    assert "MiB" in message or "GiB" in message
    assert "--resume" in message
    cfg = config(tmp_path, False)
    cfg.model.backbone.with_cp = True
    cfg.train_dataloader.batch_size = 1
    with pytest.raises(OutOfMemory) as caught:
        run(cfg, At(3, greedy))
    assert "batch_size" not in str(caught.value)
    assert "with_cp" not in str(caught.value)


@pytest.mark.parametrize("seed", [0, None])
def test_a_run_without_a_seed_is_not_resumed_silently(tmp_path, seed):
    for resume in (False, True):
        cfg = config(tmp_path, False, randomness=dict(seed=seed), resume=resume)
        cfg.train_cfg.max_iters = 4 if resume else 2
        cfg.experiment_name = f"{tmp_path.name} {resume}"  # MMEngine keeps what has a name
        runner = build_runner(cfg)
        runner.train()
        log = (tmp_path / runner.timestamp / f"{runner.timestamp}.log").read_text()
        assert ("set randomness=dict(seed=" in log) == (resume and seed is None)


def test_advice_on_memory_of_interactions():
    """Promptable models and datasets of several objects bring their own lines."""
    backbone = tiny_tssam_cfg(backbone=dict(img_size=32))["backbone"]

    def advice(with_cp, most):
        model = MODELS.build(dict(type="PromptableSAM", backbone=backbone, with_cp=with_cp))
        loader = dict(batch_size=1, dataset=dict(type="SA1BDataset", max_objects=most))
        return " ".join(memory_advice(dict(train_dataloader=loader), model, 2**30))

    assert "model.with_cp=True: activations of one of the 8 steps" in advice(False, 3)
    assert "train_dataloader.dataset.max_objects=1: objects of an image in a step instead of 3" in advice(True, 3)
    assert "train_dataloader.dataset.max_objects=8: objects of an image in a step; now all" in advice(True, None)
    assert "model.with_cp" not in advice(True, 1)
    assert "max_objects" not in advice(True, 1)


def kill_children():
    for child in psutil.Process().children(recursive=True):
        if child.ppid() == os.getpid():
            child.kill()


class KillingRecord(Hook):
    """Records a failure, during which the loading processes die."""

    def before_run(self, runner):
        on_failure(runner, self.record)

    def record(self, error):
        kill_children()
        time.sleep(60)  # until the signal comes


@pytest.mark.parametrize(
    "where", ["anywhere", "in code that makes another error of it", "while a failure is recorded", "nowhere"]
)
def test_killed_loading_process(tmp_path, where):
    """The news of it is an exception of a signal's handler, which comes wherever the training process is by then."""
    handler = None

    def kill(_):
        nonlocal handler
        handler = signal.getsignal(signal.SIGCHLD)
        if where == "while a failure is recorded":
            raise ValueError("broken batch")
        if where == "nowhere":
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kill_children()
        if where == "in code that makes another error of it":
            try:
                time.sleep(60)
            except:  # noqa: E722 (as in MMEngine's Config.pretty_text)
                raise SyntaxError("failed to format the config file")  # noqa: B904
        elif where == "nowhere":
            time.sleep(0.5)
            raise EOFError  # of a connection to it

    cfg = config(tmp_path, False, num_workers=2)
    cfg.train_cfg.max_iters = 40
    hooks = [KillingRecord()] if where == "while a failure is recorded" else []
    try:
        with pytest.raises(LoaderDied, match=r"(?s)a process that loads data .*num_workers=1 instead of 2.*--resume"):
            run(cfg, At(3, kill), *hooks)
    finally:
        signal.signal(signal.SIGCHLD, handler)
    assert (tmp_path / "iter_2.pth").is_file()


SMALL_DISK = """
import sys
from tests.engine.test_interruption import config
from samplug.commands.common import build_runner
from samplug.commands.run import run

def main():
    cfg = config(sys.argv[1], False)
    cfg.default_hooks.checkpoint.max_keep_ckpts = -1
    build_runner(cfg).train()

sys.exit(run(main))
"""


def test_full_disk(tmp_path):
    """On a real small file system: the checkpoint before it stays whole, and training goes on when there is space."""
    whole = tmp_path / "whole"
    run(config(whole, False))
    size = (whole / "iter_8.pth").stat().st_size
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size={int(size * 1.6) // 4096 * 4096} tmpfs {disk} && cd {os.getcwd()} && "
        f"{sys.executable} -c '{SMALL_DISK}' {disk}; code=$?; ls -a {disk}; cp {disk}/iter_2.pth {disk}/last_checkpoint {tmp_path}; exit $code"
    )
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script],
        capture_output=True, text=True, timeout=240, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    output = result.stdout + result.stderr
    if "unshare" in output or "mount:" in output:
        pytest.skip("this machine lets no user mount a small file system")
    assert result.returncode == 1, output[-3000:]
    assert "iter_4.pth could not be written (No space left on device); complete checkpoints: iter_2.pth" in output
    assert ".partial" not in output
    assert (tmp_path / "last_checkpoint").read_text().endswith("iter_2.pth")
    checkpoint = torch.load(tmp_path / "iter_2.pth", weights_only=False)
    assert checkpoint["meta"]["iter"] == 2


def test_write_error_is_explained(tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    from mmengine.fileio import LocalBackend

    def full(self, obj, filepath):
        Path(filepath).write_bytes(bytes(obj)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(_):
        monkeypatch.setattr(LocalBackend, "put", full)

    with pytest.raises(
        SaveError,
        match=r"iter_4\.pth could not be written \(No space left.*complete checkpoints: iter_2\.pth.*free space",
    ):
        run(config(tmp_path, False), At(3, fill))
    assert not list(tmp_path.glob(".*partial"))
    assert (tmp_path / "last_checkpoint").read_text().endswith("iter_2.pth")


def test_work_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"work_dir .*file/run cannot be written"):
        build_runner(config(tmp_path / "file" / "run", False))


# --- precision -------------------------------------------------------------------------------------------------------------------


def test_bfloat16_on_the_cpu(tmp_path):
    seen = []

    class Look(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            if not seen:
                layer = next(m for m in runner.model.modules() if isinstance(m, nn.Linear))
                layer.register_forward_hook(lambda module, args, out: seen.append(out.dtype))

    def losses(folder):
        path = next(folder.glob("*/vis_data/scalars.json"))
        return [json.loads(line)["loss"] for line in path.read_text().splitlines() if "loss" in line]

    cfg = config(tmp_path / "bf16", False)
    cfg.optim_wrapper.update(type="AmpOptimWrapper", clip_grad=dict(max_norm=1.0))
    runner = run(cfg, Look())
    assert seen[0] == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    plain = config(tmp_path / "fp32", False)
    plain.optim_wrapper.clip_grad = dict(max_norm=1.0)
    run(plain)
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "fp32"), rel=0.03)
    # A run that began in float32 goes on in bfloat16.
    cfg = config(tmp_path / "fp32", False, resume=True, load_from=str(tmp_path / "fp32" / "iter_6.pth"))
    cfg.optim_wrapper.update(type="AmpOptimWrapper", clip_grad=dict(max_norm=1.0))
    assert run(cfg).iter == 8


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (dict(dtype="float16"), "float16 needs a GPU"),
        (dict(dtype="float64"), "neither 'bfloat16' nor 'float16'"),
        (dict(loss_scale="big"), "loss_scale='big'"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="float16 is for GPUs")
def test_precision_that_does_not_exist(setting, message):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    with pytest.raises(ConfigError, match=message):
        OPTIM_WRAPPERS.build(dict(type="samplug.AmpOptimWrapper", optimizer=optimizer, **setting))


# --- selection -------------------------------------------------------------------------------------------------------------------


def stops_after(scores, **settings):
    hook = HOOKS.build(dict(type="samplug.EarlyStoppingHook", monitor="S", **settings))
    for number, score in enumerate(scores, start=1):
        if hook._judge(score):
            return number
    return None


def test_early_stopping_rule():
    assert stops_after([0.5, 0.6, 0.6, 0.6], patience=2) == 4
    assert stops_after([0.5, 0.6, 0.605, 0.609], patience=2, min_delta=0.01) == 4
    assert stops_after([0.5, 0.6, 0.61, 0.62], patience=2) is None
    assert stops_after([0.5, 0.91], stopping_threshold=0.9) == 2
    assert stops_after([0.5, math.nan]) == 2
    assert EarlyStoppingHook("CAMO/MAE").sign == -1
    with pytest.raises(ConfigError, match="Set rule"):
        EarlyStoppingHook("mystery")


def test_early_stopping_counts_on_after_resuming(tmp_path):
    def cfg(name, **changes):
        made = with_validation(config(tmp_path / name, False, **changes))
        made.optim_wrapper.optimizer.lr = 0.0
        made.train_cfg.max_iters = 20
        made.custom_hooks = [dict(type="EarlyStoppingHook", monitor="MAE", patience=3)]
        return made

    # Nothing is learnt but the statistics of BatchNorm.
    end = run(cfg("whole")).iter
    assert 8 <= end < 20
    with pytest.raises(Stop):
        run(cfg("cut"), At(end - 1, stop))
    assert run(cfg("cut", resume=True)).iter == end
    wrong = cfg("wrong")
    wrong.custom_hooks[0].monitor = "CAMO/S"
    with pytest.raises(ConfigError, match="no metric 'CAMO/S'; validation has"):
        run(wrong)


def test_unknown_best_metric(tmp_path):
    with pytest.raises(ConfigError, match="save_best: validation has no metric IoU; it has"):
        run(with_validation(config(tmp_path, False), save_best="IoU"))


def test_first_metric_is_best_by_its_own_direction(tmp_path):
    assert "best_score" in run(with_validation(config(tmp_path, False), save_best="auto")).message_hub.runtime_info


def dataset(**settings):
    return dict(type="BinarySegDataset", **settings)


def loaders(**parts):
    return Config({f"{part}_dataloader": dict(dataset=value) for part, value in parts.items()})


def test_selection_on_a_test_set_is_said(tmp_path):
    camo = dataset(name="CAMO", data_root="data", image_dir="test", published=dict(images=250, split="test"))
    train = dataset(name="COD", data_root="data", image_dir="train")
    part = {name: {**train, "part": name} for name in ("train", "val")}
    assert selection_warnings(loaders(train=part["train"], val=part["val"], test=camo)) == []
    both = dict(type="ConcatDataset", datasets=[dataset(data_root="other"), camo])
    assert any("published test set" in line for line in selection_warnings(loaders(train=train, val=both, test=both)))
    plain = {**camo, "published": {}}
    assert "same images (CAMO)" in selection_warnings(loaders(train=train, val=plain, test=plain))[0]
    assert (
        "COD is trained on and is also a validation set"
        in selection_warnings(loaders(train=train, val=part["val"], test=camo))[0]
    )
    assert "CAMO is trained on and is also a test set" in selection_warnings(loaders(train=plain, test=plain))[0]
    runner_cfg = with_validation(config(tmp_path, False))
    runner_cfg.test_dataloader, runner_cfg.test_cfg = runner_cfg.val_dataloader, dict(type="TestLoop")
    runner_cfg.test_evaluator = runner_cfg.val_evaluator
    runner_cfg.train_cfg.max_iters = 1
    run(runner_cfg)
    assert "validation and test use the same images" in log_of(tmp_path)


# --- what else is watched --------------------------------------------------------------------------------------------------------


class WithSpare(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = MODELS.build(dict(type="bce_iou"))
        self.spare = nn.Linear(2, 2)

    def forward(self, logits, target):
        return self.inner(logits, target)


def test_unused_parameters_are_named(tmp_path):
    cfg = config(tmp_path, False)
    cfg.model.loss = dict(type="WithSpare")
    run(cfg)
    text = log_of(tmp_path)
    assert text.count("does not depend on 2 trained parameters: loss_fn.spare.weight, loss_fn.spare.bias") == 1
    assert "memory after" not in text  # fewer than ten iterations
    assert "memory at the end: process peak" in text
    run(config(tmp_path / "plain", False))
    assert "does not depend" not in log_of(tmp_path / "plain")
