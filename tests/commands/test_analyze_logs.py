"""Joining, listing and drawing the logs of runs."""

import csv
import json
import math

import cv2
import numpy as np
import pytest

from samplug.commands import analyze_logs
from samplug.commands.common import build_runner
from samplug.commands.run import main
from samplug.commands.run_logs import Point, read_run
from samplug.utils.errors import ConfigError, DataError
from samplug.visualization.curves import draw_curves, moving_mean
from tests.engine.test_interruption import config


def segment(work_dir, time, records, tail="", seconds=None):
    """A log folder with these records."""
    folder = work_dir / time / "vis_data"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "scalars.json").write_text(text + tail)
    (folder / f"{time}.json").write_text(text)
    if seconds is not None:
        (work_dir / time / "run.json").write_text(json.dumps(dict(runs=[dict(kind="train", seconds=seconds)])))
    return work_dir


def train(step, loss, epoch=None, time=0.5):
    return dict(lr=0.1, loss=loss, time=time, iter=step, step=step) | ({} if epoch is None else dict(epoch=epoch))


def val(step, **metrics):
    return {**metrics, "data_time": 0.0, "time": 9.0, "step": step}


def values(run, key):
    return [(point.step, point.value) for point in run.series(key)]


def command(monkeypatch, *arguments):
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    assert main("analyze-logs", list(map(str, arguments))) == 0


def test_resumed_segments_are_one_run(tmp_path):
    segment(tmp_path, "20260102_000000", [train(30, 0.3), train(40, 0.2), val(40, MAE=0.2)], seconds=20)
    segment(
        tmp_path,
        "20260101_000000",
        [train(10, 1), train(20, 0.9), val(20, MAE=0.4), train(30, 9), train(50, 9)],
        seconds=30,
    )
    run = read_run(tmp_path)
    assert run.name == tmp_path.name
    assert values(run, "train/loss") == [(10, 1), (20, 0.9), (30, 0.3), (40, 0.2)]
    assert values(run, "val/MAE") == [(20, 0.4), (40, 0.2)]
    assert run.notes == ["20260102_000000 goes on from step 30: replaces 2 logged steps from there on"]
    assert run.recorded_seconds == 50
    assert run.seconds_per_iteration == 0.5
    assert run.last_step == 40
    # One of the log folders alone.
    assert values(read_run(tmp_path / "20260101_000000"), "val/MAE") == [(20, 0.4)]


def test_a_validation_on_its_own_replaces_nothing(tmp_path):
    segment(tmp_path, "20260101_000000", [train(10, 1), val(10, S=0.5)])
    segment(tmp_path, "20260102_000000", [val(0, S=0.6)])
    assert values(read_run(tmp_path), "val/S") == [(10, 0.5)]
    only = segment(tmp_path / "only", "20260102_000000", [val(0, S=0.6)])
    assert values(read_run(only), "val/S") == [(0, 0.6)]


def test_steps_of_validations_that_are_epochs(tmp_path):
    records = [train(5, 1, 1), val(1, S=0.5), train(10, 1, 2), val(2, S=0.6)]
    run = read_run(segment(tmp_path, "1", records))
    assert run.series("val/S") == [Point(5, 1, "val/S", 0.5), Point(10, 2, "val/S", 0.6)]


def test_names_with_hierarchy_are_the_same(tmp_path):
    records = [{"train/loss": 1.0, "iter": 1, "step": 1}, {"val/S": 0.5, "step": 1}]
    assert read_run(segment(tmp_path, "1", records)).keys == ["train/loss", "val/S"]


@pytest.mark.parametrize("tail", ['{"lr": 0.1, "lo', "[1]\n", "\x00\x00\n"])
def test_a_line_that_a_kill_cut_off_is_skipped(tmp_path, tail):
    run = read_run(segment(tmp_path, "1", [train(1, 2.0), train(2, 1.0)], tail))
    assert values(run, "train/loss") == [(1, 2.0), (2, 1.0)]
    (note,) = run.notes
    assert "scalars.json line 3" in note


def test_best_is_by_direction():
    def points(key, *numbers):
        return [Point(step, None, key, value) for step, value in enumerate(numbers)]

    for key in (
        "val/MAE",
        "val/CAMO/MAE",
        "val/BER",
        "val/BER_shadow",
        "val/NoC@90",
        "val/mine/NoF@85",
        "train/loss",
        "train/loss_bce",
        "val/tssam/MAE",
    ):
        assert analyze_logs.best(points(key, 3, 1, math.nan, 1, 2)).step == 1, key
    for key in ("val/S", "val/CAMO/IoU", "val/coco/bbox_mAP"):
        assert analyze_logs.best(points(key, 1, math.inf, 3, 2)).value == 3, key
    assert analyze_logs.best(points("train/lr", 1, 2)) is None
    assert analyze_logs.best(points("val/S", math.nan)) is None


def test_the_command(tmp_path, monkeypatch, capsys):
    first = segment(tmp_path / "first", "1", [train(10, 1.0, 1), val(10, S=0.5), train(20, 0.5, 2), val(20, S=0.4)])
    second = segment(tmp_path / "second", "1", [train(10, math.nan), val(10, S=0.7)], seconds=3661)
    command(monkeypatch, first, f"other={second}", "--out-dir", tmp_path / "out", "--smooth", 3, "--title", "t")
    said = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines()]
    assert ["first", "val/S", "0.4", "20", "0.5", "10"] in cells
    assert ["first", "train/loss", "0.5", "20", "0.5", "20"] in cells
    assert ["other", "train/loss", "nan", "10", "-", "-"] in cells
    assert ["first", "20", "0.5", "about 0:00:10 of training"] in cells
    assert ["other", "10", "0.5", "1:01:01"] in cells
    with open(tmp_path / "out" / "curves.csv") as file:
        lines = list(csv.reader(file))
    assert lines[:3] == [
        ["run", "step", "epoch", "key", "value"],
        ["first", "10", "1", "train/loss", "1.0"],
        ["first", "10", "1", "val/S", "0.5"],
    ]
    assert lines[-1] == ["other", "10", "", "val/S", "0.7"]
    assert not any(line[3] == "train/lr" for line in lines)
    picture = cv2.imread(str(tmp_path / "out" / "curves.png"))
    assert min(picture.shape[:2]) > 200
    assert ((picture == (180, 119, 31)).all(2)).sum() > 50  # the first run's blue
    assert ((picture == (14, 127, 255)).all(2)).sum() > 10  # the second's orange

    command(monkeypatch, first, "--keys", "lr", "loss*")
    lines = (first / "curves.csv").read_text().splitlines()
    assert {line.split(",")[3] for line in lines[1:]} == {"train/lr", "train/loss"}


MANY = dict(S=0.5, E_mean=0.6, MAE=0.2, mDice=0.4, IoU=0.3)
CONFIG = """
batch_size = 4
custom_hooks = [
    dict(monitor='MAE', type='EarlyStoppingHook'),
]
default_hooks = dict(
    checkpoint=dict(interval=1, save_best='mDice', type='CheckpointHook'), timer=dict(type='IterTimerHook'))
param_scheduler = dict(monitor='loss', type='ReduceOnPlateauLR')
model = dict(type=print('executed'))
"""


def run_with_config(work_dir, text, time="1"):
    segment(work_dir, time, [{**train(10, 1.0), "loss_bce": 0.7, "grad_norm": 2.0}, val(10, **MANY)])
    (work_dir / time / "vis_data" / "config.py").write_text(text)
    return work_dir


def drawn(folder):
    return {line.split(",")[3] for line in (folder / "curves.csv").read_text().splitlines()[1:]}


def test_by_default_the_loss_and_what_was_chosen_by(tmp_path, monkeypatch, capsys):
    run = run_with_config(tmp_path / "run", CONFIG)
    assert read_run(run).chosen_by == ["mDice", "MAE", "loss"]
    command(monkeypatch, run)
    assert drawn(run) == {"train/loss", "val/mDice", "val/MAE"}
    said = capsys.readouterr().out
    assert "executed" not in said
    assert "not shown (--keys): val/S, val/E_mean, val/IoU, val/data_time, val/time, train/lr, " in said
    command(monkeypatch, run, "--keys", "val/*", "--out-dir", tmp_path / "all")
    assert {f"val/{metric}" for metric in MANY} <= drawn(tmp_path / "all")
    assert "not shown" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "default_hooks = dict(", "default_hooks = None\ncustom_hooks = other()\n", "\x00"]
)
def test_a_run_whose_choice_is_not_known_shows_its_first_metric(tmp_path, monkeypatch, text):
    run = run_with_config(tmp_path / "run", text)
    command(monkeypatch, run)
    assert drawn(run) == {"train/loss", "val/S"}


def test_runs_that_chose_by_different_metrics(tmp_path, monkeypatch):
    first = run_with_config(tmp_path / "first", CONFIG)
    second = run_with_config(tmp_path / "second", CONFIG.replace("mDice", "IoU"))
    auto = run_with_config(
        tmp_path / "auto", "default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='auto'))"
    )
    command(monkeypatch, first, second, "--out-dir", tmp_path / "both")
    assert drawn(tmp_path / "both") == {"train/loss", "val/mDice", "val/MAE", "val/IoU"}
    command(monkeypatch, auto)
    assert drawn(auto) == {"train/loss", "val/S"}


def test_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="is not a folder"):
        command(monkeypatch, tmp_path / "missing")
    (tmp_path / "20260101_000000").mkdir()
    with pytest.raises(DataError, match="name the work directory of a training"):
        command(monkeypatch, tmp_path)
    run = segment(tmp_path / "a", "1", [train(1, 1), val(1, S=0.1)])
    with pytest.raises(
        ConfigError, match=r"no run has the key 'los'; there are train/lr, train/loss, train/time, val/S"
    ):
        command(monkeypatch, run, "--keys", "los")
    with pytest.raises(ConfigError, match="two runs are called 'a'"):
        command(monkeypatch, run, run)


def test_moving_mean():
    np.testing.assert_allclose(moving_mean([1, 3, 5, 7], 2), [1, 2, 4, 6])
    np.testing.assert_allclose(moving_mean([1, math.nan, 5], 2), [1, 1, 5])
    np.testing.assert_allclose(moving_mean([math.nan, 2], 1), [math.nan, 2])
    assert moving_mean([], 3).shape == (0,)


def test_curves_of_a_run_that_lacks_a_key(tmp_path):
    draw_curves(
        {"a": {"x": ([], []), "y": ([1], [2.0])}, "b": {"x": ([1, 2], [0, 1]), "y": ([], [])}}, tmp_path / "p" / "c.png"
    )
    assert cv2.imread(str(tmp_path / "p" / "c.png")) is not None


def test_a_title_has_room_of_its_own(tmp_path):
    def first_frame(title: str) -> int:
        draw_curves({"a": {"x": ([1, 2], [2.0, 1.0])}}, tmp_path / "c.png", title=title)
        dark = cv2.imread(str(tmp_path / "c.png"), cv2.IMREAD_GRAYSCALE) < 100
        return int(np.argmax(dark.mean(1) > 0.5))  # the row of the panel's upper edge

    assert first_frame("a title") > first_frame("") + 10


@pytest.mark.parametrize("by_epoch", [True, False])
def test_validations_of_a_real_run_stand_at_their_iteration(tmp_path, by_epoch):
    cfg = config(tmp_path, by_epoch)
    cfg.val_dataloader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=cfg.train_dataloader.dataset | dict(length=2, size=32),
    )
    cfg.update(val_cfg=dict(type="ValLoop"), val_evaluator=dict(type="OverlapMetric", workers=0))
    cfg.train_cfg.val_interval = 1 if by_epoch else 4
    cfg.default_hooks.checkpoint.save_best = "Dice"
    build_runner(cfg).train()
    run = read_run(tmp_path)
    assert [point.step for point in run.series("val/Dice")] == [4, 8]
    assert [point.epoch for point in run.series("val/Dice")] == ([1, 2] if by_epoch else [None, None])
    assert [point.step for point in run.series("train/loss")] == list(range(1, 9))
    assert run.recorded_seconds > 0
    assert run.chosen_by == ["Dice"]
