"""The line of progress on a terminal."""

import copy
import json
import logging
import os
import sys
from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from samplug.commands.common import build_runner
from samplug.engine import ProgressHook
from samplug.registry import HOOKS
from tests.engine.terminal import Terminal
from tests.engine.test_interruption import config

LONG = "x" * 300 + " [brackets] \x1b[31mred\x1b[0m 1.5"


@HOOKS.register_module(force=True)
class Saying(Hook):
    """Says something while the line is shown, and raises an exception after an iteration."""

    def __init__(self, error: type[BaseException] | None = None) -> None:
        self.error = error

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        print("printed", end="")
        print(" in two pieces")
        runner.logger.info(LONG)
        if self.error and runner.iter == 2:
            raise self.error("on purpose")


def on_terminal(monkeypatch):
    """A terminal as stdout; called by the test itself, since pytest sets stdout anew after fixtures."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def a_config(tmp_path, error=None, **changes):
    cfg = config(tmp_path, by_epoch=False, custom_hooks=[dict(type="Saying", error=error)], **changes)
    cfg.train_cfg.max_iters = 4
    cfg.experiment_name = tmp_path.name  # two runs of one second would share a logger
    return cfg


def test_lines_appear_whole_above_the_line_of_progress(tmp_path, monkeypatch):
    terminal = on_terminal(monkeypatch)
    cfg = a_config(tmp_path)
    cfg.val_dataloader = copy.deepcopy(cfg.train_dataloader)
    cfg.val_dataloader.update(sampler=dict(type="DefaultSampler", shuffle=False))
    cfg.val_dataloader.dataset.size = 32  # that of the network: its loader resizes the truth too
    cfg.update(val_cfg=dict(type="ValLoop"), val_evaluator=dict(type="OverlapMetric", workers=0))
    cfg.train_cfg.val_interval = 2
    cfg.verbose = True
    runner = build_runner(cfg)
    runner.train()

    shown = terminal.getvalue()
    assert "4/4" in shown
    assert "val" in shown
    assert "loss " in shown
    assert "eta" in shown
    assert sys.stdout is terminal
    assert terminal.cursor_is_visible()
    assert runner.logger.handlers[0].stream is terminal
    screen = terminal.screen()
    assert screen.count("printed in two pieces") == 4
    plain = LONG.replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert sum(line.endswith(plain) for line in screen) == 4
    # Nothing of the line of progress is left, and no log line is missing.
    assert not any("━" in line or "it/s" in line for line in screen)
    logged = (tmp_path / runner.timestamp / f"{runner.timestamp}.log").read_text().replace(LONG, plain).splitlines()
    said = [line.partition(" - INFO -")[2].strip() for line in logged if " - INFO -" in line]
    assert len(said) > 10
    assert [line.partition(" - INFO -")[2].strip() for line in screen if " - INFO -" in line] == said


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_run_that_breaks_off_gives_the_terminal_back_and_is_recorded(tmp_path, monkeypatch, error):
    terminal = on_terminal(monkeypatch)
    runner = build_runner(a_config(tmp_path, error))
    # Ctrl-C says where the run can go on.
    message = "at iteration 2 of 4; the last checkpoint is .*iter_2.pth: go on with --resume"
    with pytest.raises(error, match=message if error is KeyboardInterrupt else "on purpose"):
        runner.train()
    assert "3/4" not in terminal.screen()[-1]
    assert sys.stdout is terminal
    assert terminal.cursor_is_visible()
    print("after")
    runner.logger.info("logged after")
    assert terminal.screen()[-2].endswith("logged after")
    assert terminal.screen()[-3] == "after"
    (run,) = json.loads((tmp_path / runner.timestamp / "run.json").read_text())["runs"]
    assert (run["kind"], run["iteration"], run["outcome"]) == ("train", 2, f"{error.__name__}: on purpose")
    assert run["end"]


def begun(hook, total=3):
    hook._begin("test", total)
    return hook


def test_without_a_terminal_nothing_changes(capsys):
    before = sys.stdout
    hook = begun(ProgressHook())
    assert sys.stdout is before
    hook.after_test_iter(None, 0)
    hook.after_test(None)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("reason", ["another rank", "a dumb terminal", "not wanted"])
def test_nothing_is_shown(monkeypatch, reason):
    terminal = on_terminal(monkeypatch)
    begun(ProgressHook())._close()
    assert terminal.getvalue() != ""
    terminal.truncate(0)
    if reason == "another rank":
        monkeypatch.setattr("samplug.engine.hooks.progress.is_main_process", lambda: False)
    elif reason == "a dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
    begun(ProgressHook(enabled=reason != "not wanted"))
    assert terminal.getvalue() == ""
    assert sys.stdout is terminal


def test_a_terminal_that_cannot_be_written_to(monkeypatch):
    terminal = on_terminal(monkeypatch)

    def gone(_):
        raise OSError("gone")

    terminal.write = gone
    hook = begun(ProgressHook())
    hook.after_test_iter(None, 0)
    assert sys.stdout is terminal


def test_the_beginning_of_a_line_is_not_lost(monkeypatch):
    terminal = on_terminal(monkeypatch)
    hook = begun(ProgressHook())
    print("no end", end="")
    hook.after_test_iter(None, 0)
    hook.after_test(None)
    assert terminal.screen() == ["no end"]


def test_a_terminal_that_goes_away_does_not_end_the_run(monkeypatch):
    terminal = on_terminal(monkeypatch)
    hook = begun(ProgressHook())

    def gone(_):
        raise OSError("gone")

    hook.after_test_iter(None, 0)
    terminal.write = gone
    hook._line._drawn = 0.0
    hook.after_test_iter(None, 1)
    hook.after_test_iter(None, 2)
    hook.after_test(None)
    assert sys.stdout is terminal


def test_stdout_in_a_file_and_stderr_a_terminal(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with open(tmp_path / "out", "w+") as file:
        monkeypatch.setattr(sys, "stdout", file)
        logger = MMLogger(f"to_a_file_{os.getpid()}")
        logger.setLevel(logging.INFO)
        hook = begun(ProgressHook())
        logger.info("to the file")
        print("to the terminal", file=sys.stderr)
        hook.after_test_iter(None, 0)
        hook.after_test(SimpleNamespace())
        file.seek(0)
        assert file.read().endswith("to the file\n")
    assert terminal.screen()[0] == "to the terminal"
    assert "\x1b[" in terminal.getvalue()


def test_a_forked_worker_writes_past_the_line(monkeypatch):
    terminal = on_terminal(monkeypatch)
    hook = begun(ProgressHook())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    length = len(terminal.getvalue())
    print("from a worker")
    assert terminal.getvalue()[length:] == "from a worker\n"
    monkeypatch.undo()
    hook._close()
