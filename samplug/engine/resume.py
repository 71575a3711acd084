"""Finding the checkpoint that an interrupted run goes on from."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from samplug.checkpoints import WeightsError, read_checkpoint


def latest_checkpoint(work_dir: str | Path, fall_back: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a work folder that can be read, and its content.

    ``last_checkpoint`` names the newest one; its path may be that of another machine, the file is looked for beside it. Files that a killed
    run left unfinished have other names and are not looked at.

    Args:
        work_dir: The run's folder.
        fall_back: Take an older one, with a warning, if the newest cannot be read; otherwise that is an error.

    Returns:
        None if the folder has no checkpoint.

    Raises:
        WeightsError: None can be read, or the newest cannot and ``fall_back`` is off.
    """
    logger = MMLogger.get_current_instance()
    failures: list[str] = []
    for path in _newest_first(Path(work_dir)):
        try:
            checkpoint = read_checkpoint(path)
        except WeightsError as error:
            if not fall_back:
                raise
            failures.append(str(error))
            logger.warning(f"resume: {path} cannot be read, the one before it is tried: {error}")
            continue
        logger.info(f"resume: going on from {path}")
        return path, checkpoint
    if failures:
        raise WeightsError(f"resume: no checkpoint in {work_dir} can be read: {'; '.join(failures)}")
    return None


def _newest_first(work_dir: Path) -> Iterator[Path]:
    """What ``last_checkpoint`` names, then the others by their number."""
    record = work_dir / "last_checkpoint"
    named: list[Path] = []
    if record.is_file() and (text := record.read_text().strip()):
        named = [path for path in (Path(text), work_dir / Path(text).name) if path.exists()][:1]
    numbered: list[tuple[int, Path]] = []
    for path in work_dir.glob("*.pth"):
        if found := re.fullmatch(r"(?:epoch|iter)_(\d+)\.pth", path.name):
            numbered.append((int(found.group(1)), path))
    yield from named
    yield from (
        path for _, path in sorted(numbered, reverse=True) if path.resolve() not in {n.resolve() for n in named}
    )
