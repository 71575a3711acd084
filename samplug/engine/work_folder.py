"""Keep a work directory to one training at a time, and protect the checkpoints of earlier trainings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from samplug.engine.folder_lock import FolderLock
from samplug.utils.errors import ConfigError
from samplug.utils.files import remove_abandoned
from samplug.utils.text import listed

LOCK = "training.lock"
RECORD = "last_checkpoint"
_LONGEST_PATH = 4096
_CHECKPOINT = re.compile(r"(?:iter|epoch)_\d+\.pth|best_.*\.pth")


class WorkFolder:
    """Work directory that is locked for a training."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.lock = FolderLock(self.folder / LOCK, "training")
        self.replaced: list[Path] = []

    def check(self) -> None:
        """Check that this training still holds the lock, see :meth:`FolderLock.check`."""
        self.lock.check()

    def clear(self) -> None:
        """Remove the checkpoints that this training replaces, so that ``--resume`` cannot continue from them."""
        for path in self.replaced:
            path.unlink(missing_ok=True)
        if self.replaced:
            print_log(f"overwrite: removed {listed(p.name for p in self.replaced)} from {self.folder}", "current")
        self.replaced = []


@contextmanager
def work_folder(runner: Any) -> Iterator[None]:
    """Lock the work directory of a SamplugRunner during training; all ranks enter, rank 0 sets ``runner.folder``.

    Raises:
        ConfigError: Another training runs there, or has left checkpoints and this one neither continues nor replaces
            it.
        WriteError: The lock cannot be written.
    """
    problems: list[Exception | None] = [None]
    if is_main_process():
        try:
            runner.folder = _taken(runner)
        except Exception as error:  # the other ranks wait for the outcome
            problems = [error]
    broadcast_object_list(problems)
    if problems[0] is not None:
        raise problems[0]
    try:
        yield
    finally:
        if runner.folder is not None:
            runner.folder.lock.release()
            runner.folder = None


def _taken(runner: Any) -> WorkFolder:
    found = WorkFolder(runner.work_dir)
    found.lock.acquire()
    try:
        if not runner.has_trained:
            overwrite = bool(runner.cfg.get("overwrite_work_dir"))
            check_unused(found.folder, runner._load_from, runner._resume, overwrite)
        if not (runner._resume or runner.has_trained):
            found.replaced = checkpoints_in(found.folder)
        remove_abandoned(found.folder)
    except BaseException:
        found.lock.release()
        raise
    runner.has_trained = True
    return found


def check_unused(folder: Path, load_from: str | None, resume: bool, overwrite: bool) -> None:
    """Make sure that a training overwrites no checkpoints of another one unless it is told to.

    Args:
        folder: The work folder.
        load_from: Checkpoint that the training starts from, or resumes.
        resume: The training goes on from ``load_from``, or from the newest checkpoint of the folder.
        overwrite: A training that does not resume may replace what is there.

    Raises:
        ConfigError: There are checkpoints, and the training resumes from none of them and may not replace them; or it
            starts from one of those that it replaces.
    """
    earlier = [path for path in checkpoints_in(folder) if path.name != RECORD]
    if not earlier:
        return
    inside = bool(load_from) and Path(str(load_from)).expanduser().resolve().parent == folder.resolve()
    if resume:
        if load_from and not inside:
            raise ConfigError(
                f"work_dir: {folder} holds the checkpoints of another training than --resume {load_from} continues: "
                "choose another --work-dir, or continue the one there with --resume alone"
            )
    elif not overwrite:
        newest = max(earlier, key=lambda path: path.stat().st_mtime)
        written = datetime.fromtimestamp(newest.stat().st_mtime)
        raise ConfigError(
            f"work_dir: {folder} holds the checkpoints of a training ({listed((p.name for p in earlier), 3)}; the last "
            f"of {written:%Y-%m-%d %H:%M}): continue it with --resume, choose another --work-dir, or replace them with "
            "--overwrite"
        )
    elif load_from and Path(load_from).expanduser().resolve() in {path.resolve() for path in earlier}:
        raise ConfigError(
            f"work_dir: load_from={load_from} is one of the checkpoints that --overwrite would remove: choose another "
            "--work-dir"
        )


def last_checkpoint(folder: str | Path) -> str | None:
    """Return the checkpoint that the record of a work folder names; None if there is no record.

    A file of this name beside the record comes first, since the folder may be a copy, whose record still has the path
    of the original. Otherwise there need be no such file: it may lie in a remote store.
    """
    record = Path(folder) / RECORD
    if not is_file(record):
        return None
    with record.open(encoding="utf-8", errors="replace") as file:
        name = file.readline(_LONGEST_PATH).strip()
    beside = Path(folder) / Path(name).name
    return str(beside) if name and is_file(beside) else name or None


def is_file(path: Path) -> bool:
    """Return True for a regular file; False also for pipes, devices and impossible names."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that this file system cannot have
        return False


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a training in a folder, and the record of the last checkpoint."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _CHECKPOINT.fullmatch(path.name) or path.name == RECORD)
