"""What a run shows on the screen, and what only its log file has."""

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from samplug.commands.common import build_runner
from samplug.engine.screen import _device
from samplug.registry import HOOKS
from tests.engine.test_interruption import config

BULK = ("System environment:", "Hooks will be executed", "Config:\n", "MMEngine: ", "part  ")


@HOOKS.register_module(force=True)
class Talking(Hook):
    """Hook that logs warnings like samplug and MMEngine at the start, and a long message during the run."""

    def before_run(self, runner):
        for _ in range(2):
            runner.logger.warning("data: 3 files\nare left out:\n a\n b\n c")
        runner.logger.warning('"FileClient" will be deprecated in future.')
        runner.logger.info("a note of one line")

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.logger.info("a\ntable\nof\nmany\nlines")


def started(tmp_path, capsys, **changes):
    """The screen of two iterations, and the log file."""
    cfg = config(tmp_path, by_epoch=False, custom_hooks=[dict(type="Talking")], **changes)
    cfg.train_cfg.max_iters = 2
    cfg.experiment_name = tmp_path.name
    runner = build_runner(cfg)
    runner.train()
    return runner, capsys.readouterr().out, (tmp_path / runner.timestamp / f"{runner.timestamp}.log").read_text()


def test_a_start_is_a_screen_and_the_file_has_everything(tmp_path, capsys):
    groups = dict(custom_keys=dict(adapter=dict(lr_mult=0.1)))
    optim_wrapper = dict(
        type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.02), paramwise_cfg=groups
    )
    schedule = [dict(type="LinearLR", start_factor=0.5, by_epoch=False, begin=0, end=2)]
    runner, screen, log = started(tmp_path, capsys, optim_wrapper=optim_wrapper, param_scheduler=schedule)
    before = screen[: screen.index("a\ntable")]
    assert len(before.splitlines()) < 40
    assert not any(text in before for text in BULK)
    assert all(text in log for text in BULK)
    # A warning of several lines is shown once; MMEngine's messages for developers are hidden.
    assert before.count("data: 3 files\nare left out:\n a\n b\n c") == 1
    assert "a note of one line" in before
    assert "deprecated" not in screen
    assert "deprecated" in log
    assert "CPU" in before or "GPU" in before or "NVIDIA" in before
    for expected in (
        r"train      CamouflageSceneDataset: 8 samples, batch size 2, 0 workers",
        rf"model      {type(runner.bare_model).__name__}, [\d,]+ parameters, [\d,]+ trained",
        r"backbone +[\d,]+  frozen",
        r"adapter +[\d,]+  all trained  lr 5e-05",
        r"decode_head +[\d,]+  all trained  lr 0\.0005",
        r"weights    random",
        r"memory     parameters \d+ MiB",
        r"optimiser  AdamW, lr 5e-05 to 0\.0005 now, 0\.0001 to 0\.001 before the schedule's factors, weight decay 0\.02",
        r"schedule   2 iterations: LinearLR from iteration 0 to 2\n",
        rf"files .*{runner.timestamp}\.log",
    ):
        assert re.search(expected, before), expected
    assert screen.count("a\ntable\nof\nmany\nlines") == 2  # tables of a run that has begun
    assert "Iter(train)" in screen


def test_verbose_shows_everything(tmp_path, capsys):
    _, screen, log = started(tmp_path, capsys, verbose=True)
    assert all(text in screen and text in log for text in BULK)


def test_a_resumed_run_shows_the_schedule_in_force(tmp_path, capsys):
    started(tmp_path, capsys)
    cfg = config(tmp_path, by_epoch=False, resume=True)
    cfg.train_cfg.max_iters = 3
    cfg.experiment_name = f"{tmp_path.name}_resumed"
    runner = build_runner(cfg)
    shown = {}

    def note(name, **kwargs):
        if name == "before_train":
            shown.update(lr=runner.optim_wrapper.param_groups[0]["lr"], end=runner.param_schedulers[0].end)

    call = runner.call_hook
    runner.call_hook = lambda name, **kwargs: (note(name), call(name, **kwargs))[1]
    runner.train()
    screen = capsys.readouterr().out
    assert "weights    of a checkpoint, after iteration 2" in screen
    assert f"lr {shown['lr']:.3g} now" in screen
    assert f"schedule   3 iterations, 2 done: CosineAnnealingLR from iteration 0 to {shown['end']}\n" in screen


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(("visible", "reason"), [("", "GPUs are hidden, as by --device cpu"), ("0", "no GPU found")])
def test_the_device_says_why(monkeypatch, visible, reason):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _device(SimpleNamespace(world_size=2)) == f"CPU: {reason}; threads: {torch.get_num_threads()}; 2 processes"
