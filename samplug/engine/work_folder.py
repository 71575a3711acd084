"""Keep a work directory to one training at a time, and protect the checkpoints of earlier trainings."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from samplug.engine.folder_lock import FolderLock
from samplug.utils.errors import ConfigError, UserError
from samplug.utils.text import listed

LOCK = "training.lock"
RECORD = "last_checkpoint"
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
        ConfigError: Another training runs there, or there are checkpoints and this run neither resumes nor replaces
            them.
        WriteError: The lock cannot be written.
    """
    problems: list[UserError | None] = [None]
    if is_main_process():
        try:
            runner.folder = _taken(runner)
        except UserError as error:
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
    goes_on = runner._resume or runner.has_trained
    if not goes_on:
        check_unused(runner.cfg)
    found.lock.acquire()
    if not goes_on:
        found.replaced = checkpoints_in(found.folder)
    runner.has_trained = True
    return found


def check_unused(cfg: Mapping[str, Any]) -> None:
    """Check that a new training overwrites checkpoints only with ``overwrite_work_dir=True``.

    Args:
        cfg: Config with ``work_dir`` of a training that does not resume.

    Raises:
        ConfigError: There are checkpoints, or ``load_from`` is a checkpoint that would be replaced.
    """
    folder = Path(cfg["work_dir"])
    earlier = [path for path in checkpoints_in(folder) if path.name != RECORD]
    if not earlier:
        return
    if not cfg.get("overwrite_work_dir"):
        newest = max(earlier, key=lambda path: path.stat().st_mtime)
        written = datetime.fromtimestamp(newest.stat().st_mtime)
        raise ConfigError(
            f"work_dir: {folder} holds the checkpoints of a training ({listed((p.name for p in earlier), 3)}; the last "
            f"of {written:%Y-%m-%d %H:%M}): continue it with --resume, choose another --work-dir, or replace them with "
            "--overwrite"
        )
    start = cfg.get("load_from")
    if start and Path(start).expanduser().resolve() in {path.resolve() for path in earlier}:
        raise ConfigError(
            f"work_dir: load_from={start} is one of the checkpoints that --overwrite would remove: choose another "
            "--work-dir"
        )


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints of a training in a folder, and the record of the last checkpoint."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _CHECKPOINT.fullmatch(path.name) or path.name == RECORD)
