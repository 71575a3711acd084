"""Runs that are killed, also while a checkpoint is written, and resumed to the same end."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch

from samplug.checkpoints import WeightsError
from samplug.commands.common import build_runner
from samplug.engine.resume import latest_checkpoint
from tests.builders import tiny_tssam_cfg
from tests.conftest import ROOT
from tests.processes import run_python

ITERATIONS = 8


def config(work_dir, by_epoch, num_workers=0, **changes):
    """A tiny run with random augmentation, a schedule, and a checkpoint every second iteration (or every epoch of 4)."""
    from mmengine.config import Config

    pipeline = [
        dict(type="LoadImage"),
        dict(type="LoadBinaryMask"),
        dict(type="mmseg.Resize", scale=(32, 32), keep_ratio=False),
        dict(type="mmseg.RandomFlip", prob=0.5),
        dict(type="mmseg.PhotoMetricDistortion"),
        dict(type="PackSegInputs"),
    ]
    cfg = Config.fromfile(ROOT / "configs/_base_/default_runtime.py")
    cfg.update(
        model=tiny_tssam_cfg(backbone=dict(img_size=32)),
        train_dataloader=dict(
            batch_size=2,
            num_workers=num_workers,
            sampler=dict(type="DefaultSampler" if by_epoch else "InfiniteSampler", shuffle=True),
            dataset=dict(type="CamouflageSceneDataset", length=8, size=40, pipeline=pipeline),
        ),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=ITERATIONS // 4)
        if by_epoch
        else dict(type="IterBasedTrainLoop", max_iters=ITERATIONS),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3)),
        param_scheduler=[dict(type="CosineAnnealingLR", by_epoch=False, T_max=ITERATIONS, eta_min=1e-6)],
        custom_hooks=[dict(type="EMAHook")],
        work_dir=str(work_dir),
        launcher="none",
    )
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", by_epoch=by_epoch, interval=1 if by_epoch else 2, max_keep_ckpts=2
    )
    cfg.default_hooks.logger.interval = 1
    cfg.log_processor.by_epoch = by_epoch
    cfg.update(changes)
    return cfg


def run(work_dir, by_epoch=False, die="", resume=False, num_workers=0):
    """Train in a process of its own; ``die``: where it kills itself."""
    return run_python(
        "-m", "tests.engine.test_interruption", work_dir, int(by_epoch), die, int(resume), num_workers,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def losses(run_):
    return dict(re.findall(r"\[ *(\d+)/\d+\].*?loss: ([\d.]+)", run_.stdout + run_.stderr))


def same(first, second):
    a, b = (torch.load(path, weights_only=False) for path in (first, second))
    for part in ("state_dict", "ema_state_dict"):
        assert a[part].keys() == b[part].keys()
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part]), part
    for x, y in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(x[key]), torch.as_tensor(y[key])) for key in x)


@pytest.fixture(scope="module")
def unbroken(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    finished = run(folder, request.param)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return request.param, folder, losses(finished)


@pytest.mark.parametrize(
    ("unbroken", "die"),
    [
        *((False, die) for die in ("iteration 5", "write 2", "replace 2", "record 2")),
        *((True, die) for die in ("iteration 5", "write 2")),  # saving is the same code in both loops
    ],
    indirect=["unbroken"],
)
def test_killed_and_resumed_is_the_same_run(unbroken, tmp_path, die):
    """SIGKILL between checkpoints, in the middle of writing one, before its rename, and before last_checkpoint names it."""
    by_epoch, folder, expected = unbroken
    killed = run(tmp_path, by_epoch, die)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    record = tmp_path / "last_checkpoint"
    assert not record.exists() or Path(record.read_text()).is_file()
    resumed = run(tmp_path, by_epoch, resume=True, num_workers=2)  # another number of workers changes nothing
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    last = (folder / "last_checkpoint").read_text()
    same(last, tmp_path / Path(last).name)
    after = losses(resumed)
    assert after
    if not by_epoch:
        assert all(expected[step] == loss for step, loss in after.items())
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == sorted(path.name for path in folder.glob("*.pth"))


def test_unreadable_newest_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert run(tmp_path).returncode == 0
    newest, older = tmp_path / "iter_8.pth", tmp_path / "iter_6.pth"
    sound = newest.read_bytes()
    for damage in (sound[: len(sound) // 2], b"", sound[:5000] + bytes(20000) + sound[25000:]):
        newest.write_bytes(damage)
        path, _ = latest_checkpoint(tmp_path)
        assert path == older
        with pytest.raises(WeightsError, match=r"iter_8\.pth"):
            latest_checkpoint(tmp_path, fall_back=False)
    resumed = run(tmp_path, resume=True)
    assert resumed.returncode == 0
    assert newest.read_bytes() != damage
    # Moved with its folder: the path in last_checkpoint is that of another place.
    moved = tmp_path.parent / "moved"
    tmp_path.rename(moved)
    assert latest_checkpoint(moved)[0] == moved / "iter_8.pth"
    (moved / "last_checkpoint").write_text("")
    assert latest_checkpoint(moved)[0] == moved / "iter_8.pth"
    for file in moved.glob("*.pth"):
        file.write_bytes(b"broken")
    with pytest.raises(WeightsError, match=r"no checkpoint in .* can be read"):
        latest_checkpoint(moved)


def test_best_checkpoint_is_kept_until_the_better_one_is_there(tmp_path, monkeypatch):
    cfg = config(tmp_path, True)
    cfg.val_dataloader = {**cfg.train_dataloader, "sampler": dict(type="DefaultSampler", shuffle=False)}
    cfg.val_dataloader["dataset"] = dict(cfg.train_dataloader.dataset, length=3, pipeline=[
        dict(type="LoadImage"), dict(type="mmseg.Resize", scale=(32, 32), keep_ratio=False), dict(type="LoadBinaryMask"),
        dict(type="PackSegInputs"),
    ])  # fmt: skip
    cfg.val_cfg, cfg.val_evaluator = dict(type="ValLoop"), [dict(type="SaliencyMetric")]
    cfg.default_hooks.checkpoint.update(save_best="MAE", rule="less")
    runner = build_runner(cfg)
    scores = iter([0.5, 0.4])
    monkeypatch.setattr(type(runner.build_evaluator(cfg.val_evaluator)), "evaluate", lambda *_: {"MAE": next(scores)})
    seen = []
    original = type(runner).save_checkpoint

    def save(self, out_dir, filename, *args, **kwargs):
        if "best" in filename:
            seen.append(sorted(path.name for path in tmp_path.glob("best*.pth")))
        original(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(type(runner), "save_checkpoint", save)
    runner.train()
    assert seen == [[], ["best_MAE_epoch_1.pth"]]
    assert [path.name for path in tmp_path.glob("best*.pth")] == ["best_MAE_epoch_2.pth"]


def main(work_dir, by_epoch, die, resume, num_workers):
    from mmengine.hooks import Hook

    what, _, number = die.partition(" ")
    counts = dict.fromkeys(("write", "replace", "record"), 0)

    def due(event):
        counts[event] += 1
        return what == event and counts[event] == int(number)

    save, replace = torch.save, os.replace

    def dying_save(obj, file, *args, **kwargs):
        if due("write"):
            save(obj, file, *args, **kwargs)
            if hasattr(file, "getbuffer"):  # MMEngine writes a buffer to the file afterwards
                folder = Path(work_dir)
                folder.joinpath(".half.partial").write_bytes(bytes(file.getbuffer()[:1000]))
            os.kill(os.getpid(), signal.SIGKILL)
        return save(obj, file, *args, **kwargs)

    def dying_replace(source, target):
        if due("record" if Path(target).name == "last_checkpoint" else "replace"):
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(source, target)

    class Killer(Hook):
        def after_train_iter(self, runner, *_, **__):
            if what == "iteration" and runner.iter + 1 == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

    torch.save, os.replace = dying_save, dying_replace
    torch.set_num_threads(1)
    runner = build_runner(config(work_dir, by_epoch, num_workers, resume=resume))
    runner.register_hook(Killer(), "LOWEST")
    runner.train()


if __name__ == "__main__":
    main(sys.argv[1], bool(int(sys.argv[2])), sys.argv[3], bool(int(sys.argv[4])), int(sys.argv[5]))
