"""One training at a time in a work directory, and no checkpoint overwritten unasked."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from samplug.commands import quickstart, train
from samplug.commands.common import build_runner
from samplug.commands.run import main, run
from samplug.engine import folder_lock
from samplug.engine.folder_lock import FolderLock, _this_process
from samplug.engine.run_errors import SaveError
from samplug.engine.work_folder import last_checkpoint, work_folder
from samplug.utils.errors import ConfigError, UserError
from samplug.utils.files import WriteError
from tests.engine.test_interruption import config


@pytest.fixture
def lock(tmp_path):
    held = FolderLock(tmp_path / "training.lock", "training")
    yield held
    held.release()


@pytest.fixture
def other():
    """A process that runs for as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def owned(lock, pid, **changes):
    """Write the lock of another process."""
    facts = {**_this_process(), "pid": pid, "process": folder_lock._process(pid)[1], "token": "other", **changes}
    lock.path.write_text(json.dumps(facts))


def test_a_lock_is_taken_and_given_back(lock):
    lock.acquire()
    with pytest.raises(ConfigError, match=rf"process {os.getpid()} on .* runs in .*--work-dir"):
        FolderLock(lock.path, "training").acquire()
    lock.release()
    assert list(lock.path.parent.iterdir()) == []
    again = FolderLock(lock.path, "training")
    again.acquire()
    lock.release()  # a second time, which is another's now
    assert lock.path.exists()
    again.release()


def test_a_running_process_keeps_its_lock(lock, other):
    owned(lock, other.pid)
    before = lock.path.read_bytes()
    with pytest.raises(ConfigError, match=rf"process {other.pid} on .*if it no longer runs, remove"):
        lock.acquire()
    assert lock.path.read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="starts of processes are read from /proc")
def test_a_killed_process_loses_its_lock(lock, other):
    owned(lock, other.pid)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    lock.acquire()
    lock.release()
    started = folder_lock._process(os.getpid())[1]
    owned(lock, os.getpid(), process=str(int(started) - 1))  # the number was given to a new process
    lock.acquire()
    assert json.loads(lock.path.read_text())["token"] != "other"


def test_another_machine_is_watched(lock, monkeypatch, capsys):
    """On another machine only the heartbeat shows whether the owner of a lock still runs."""
    monkeypatch.setattr(folder_lock, "_WATCH_S", 1.0)
    monkeypatch.setattr(folder_lock, "_BEAT_S", 0.05)
    there = FolderLock(lock.path, "training")
    there._owner.update(host="node7", machine=["another", "another"])
    there.acquire()
    with pytest.raises(ConfigError, match="on node7"):
        lock.acquire()
    assert "watching for 1 s whether it still runs" in capsys.readouterr().out
    there._stop.set()  # as a power failure does
    time.sleep(0.2)
    lock.acquire()
    with pytest.raises(ConfigError, match=r"has taken over .* this training stops here"):
        there.check()
    lock.check()


def test_one_of_many_takes_a_lock_that_is_left(tmp_path):
    """Several processes see that the owner no longer runs; only one may take the lock."""
    path = tmp_path / "training.lock"
    for _ in range(20):
        path.write_text(json.dumps({**_this_process(), "pid": 2**22 + 1, "token": "gone"}))
        locks = [FolderLock(path, "training") for _ in range(6)]
        outcomes: list[bool] = []
        barrier = threading.Barrier(len(locks))

        def take(lock, barrier=barrier, outcomes=outcomes):
            barrier.wait()
            try:
                lock.acquire()
                outcomes.append(True)
            except ConfigError:
                outcomes.append(False)

        threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False] * 5 + [True]
        for lock in locks:
            lock.release()
        assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_written(lock, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(WriteError, match=r"training\.lock cannot be written: No space left"):
        lock.acquire()
    assert not lock.path.exists()


def test_checkpoints_are_replaced_only_if_asked(tmp_path, monkeypatch):
    names = ("best_S_iter_6.pth", "iter_8.pth", "last_checkpoint", "sam_vit_b.pth")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    before = {name: (tmp_path / name).read_bytes() for name in names}
    with pytest.raises(ConfigError, match=r"best_S_iter_6\.pth, .*--resume, .*--work-dir, .*--overwrite") as found:
        build_runner(config(tmp_path, False)).train()
    assert len(str(found.value)) < 400
    again = dict(overwrite_work_dir=True)
    with pytest.raises(ConfigError, match=r"load_from=.*iter_8\.pth is one of the checkpoints"):
        build_runner(config(tmp_path, False, load_from=str(tmp_path / "iter_8.pth"), **again)).train()
    with pytest.raises(UserError, match=r"missing\.pth"):
        build_runner(config(tmp_path, False, load_from=str(tmp_path / "missing.pth"), **again)).train()
    assert {name: (tmp_path / name).read_bytes() for name in names} == before  # it had not begun
    assert not (tmp_path / "training.lock").exists()

    seen = {}

    def save(self, *args, **kwargs):
        seen.update({path.name: path.is_file() for path in tmp_path.iterdir()})
        raise SaveError("stop")

    runner = build_runner(config(tmp_path, False, **again))
    monkeypatch.setattr(type(runner), "save_checkpoint", save)
    with pytest.raises(SaveError):
        runner.train()
    # Until the first checkpoint, the lock protects the folder and there is no checkpoint to resume from.
    assert {name for name, is_file in seen.items() if is_file and not name.endswith(".py")} == {
        "sam_vit_b.pth",
        "training.lock",
    }


def test_a_refused_training_changes_nothing(tmp_path, lock, other):
    """Not even the record of the config, which is that of the training that runs."""
    owned(lock, other.pid)
    with pytest.raises(ConfigError, match=f"process {other.pid} on"):
        build_runner(config(tmp_path, False)).train()
    lock.path.unlink()
    (tmp_path / "iter_8.pth").write_bytes(b"8")
    elsewhere = tmp_path / "elsewhere/iter_2.pth"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"2")
    with pytest.raises(ConfigError, match=r"another training than --resume .*elsewhere/iter_2\.pth continues"):
        build_runner(config(tmp_path, False, resume=True, load_from=str(elsewhere))).train()
    with pytest.raises(UserError, match=r"iter_8\.pth is damaged, or asks"):  # one of its own: it is read
        build_runner(config(tmp_path, False, resume=True, load_from=str(tmp_path / "iter_8.pth"))).train()
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"iter_8.pth"}


def test_a_training_that_ends_while_another_waits_is_not_overwritten(tmp_path, monkeypatch):
    acquire = FolderLock.acquire

    def after_another(lock):
        acquire(lock)
        (tmp_path / "iter_8.pth").write_bytes(b"8")

    monkeypatch.setattr(FolderLock, "acquire", after_another)
    with pytest.raises(ConfigError, match="replace them with --overwrite"):
        build_runner(config(tmp_path, False)).train()
    assert not (tmp_path / "training.lock").exists()


def test_unfinished_files_of_killed_runs_are_removed(tmp_path):
    old, fresh = (tmp_path / f".{name}.partial" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half a checkpoint")
    os.utime(old, (0, time.time() - 7200))
    with work_folder(build_runner(config(tmp_path, False))):
        assert not old.exists()
        assert fresh.exists()  # another command may be writing it


def test_the_last_checkpoint_of_a_copied_folder(tmp_path):
    assert last_checkpoint(tmp_path) is None
    (tmp_path / "last_checkpoint").write_text("/original/iter_2.pth\n")
    assert last_checkpoint(tmp_path) == "/original/iter_2.pth"
    (tmp_path / "iter_2.pth").write_bytes(b"")
    assert last_checkpoint(tmp_path) == str(tmp_path / "iter_2.pth")
    (tmp_path / "last_checkpoint").write_text("")
    assert last_checkpoint(tmp_path) is None


def test_the_lock_of_another_user_has_a_time(lock, monkeypatch):
    lock.path.write_text("{}")
    monkeypatch.setattr(type(lock.path), "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "")))
    before = folder_lock._time(lock.path)
    os.utime(lock.path, (0, 1))
    assert None is not before != folder_lock._time(lock.path)


def test_the_command_asks_before_it_builds_a_model(tmp_path, monkeypatch, capsys):
    (tmp_path / "iter_8.pth").write_bytes(b"")
    built = []
    monkeypatch.setattr(train, "build_runner", lambda cfg: built.append(cfg) or _Trains())
    command = ["samplug::quickstart.py", "--work-dir", str(tmp_path)]
    assert main("train", command) == 1
    assert "replace them with --overwrite" in capsys.readouterr().err
    assert not built
    for option in ("--overwrite", "--resume"):
        assert main("train", [*command, option]) == 0
    assert [bool(cfg.get("overwrite_work_dir")) for cfg in built] == [True, False]
    with pytest.raises(SystemExit):
        main("train", [*command, "--overwrite", "--resume"])
    assert "give one" in capsys.readouterr().err


class _Trains:
    def train(self):
        pass


@pytest.mark.parametrize(
    ("iteration", "message"),
    [(0, "at iteration 0 of 8; .* has no checkpoint yet"), (2, r"iter_2\.pth: go on with --resume")],
)
def test_a_stopped_training_says_how_to_go_on(tmp_path, monkeypatch, iteration, message):
    runner = build_runner(config(tmp_path, False))

    def stop(hook, runner, *args, **kwargs):
        assert (tmp_path / "training.lock").exists()
        if runner.iter == iteration:
            raise KeyboardInterrupt

    monkeypatch.setattr("samplug.engine.hooks.progress.ProgressHook.after_train_iter", stop)
    with pytest.raises(KeyboardInterrupt, match=message):
        runner.train()
    assert not (tmp_path / "training.lock").exists()


def test_the_message_of_ctrl_c_is_printed(capfd):
    def stopped():
        raise KeyboardInterrupt("the last checkpoint is iter_2.pth")

    assert run(stopped) == 130
    assert capfd.readouterr().err == "interrupted: the last checkpoint is iter_2.pth\n"


def test_a_second_quickstart_replaces_the_first_and_no_other_training(tmp_path, monkeypatch):
    calls = []

    def call(command, *words, options):
        calls.append(words)
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(quickstart, "_call", call)
    for name in ("other.py", "quickstart_folder.py"):
        (tmp_path / name).write_text("")
        with pytest.raises(subprocess.CalledProcessError):
            quickstart.quickstart("samplug::quickstart.py", str(tmp_path), {})
    assert ["--overwrite" in words for words in calls] == [False, True]
