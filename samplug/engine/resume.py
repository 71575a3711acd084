"""Find the checkpoint that an interrupted run resumes from."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from samplug.checkpoints import WeightsError, read_checkpoint


def latest_checkpoint(work_dir: str | Path, fall_back: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """Find the newest readable checkpoint of a work folder.

    ``last_checkpoint`` names the newest one. A file of this name beside it comes first, since the folder may be a copy,
    whose record still has the path of the original. Unfinished files of a killed run have other names and are ignored.

    Args:
        work_dir: The run's folder.
        fall_back: True: if the newest checkpoint cannot be read, warn and take an older one.

    Returns:
        The path and the content; None if the folder has no checkpoint.

    Raises:
        WeightsError: No checkpoint can be read, or the newest cannot be read and ``fall_back`` is False.
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
            logger.warning(f"resume: {path} cannot be read, trying the one before it: {error}")
            continue
        logger.info(f"resume: continuing from {path}")
        return path, checkpoint
    if failures:
        raise WeightsError(f"resume: no checkpoint in {work_dir} can be read: {'; '.join(failures)}")
    return None


def _newest_first(work_dir: Path) -> Iterator[Path]:
    """Yield the checkpoint that ``last_checkpoint`` names, then the others, highest number first."""
    record = work_dir / "last_checkpoint"
    named: list[Path] = []
    if record.is_file() and (text := record.read_text().strip()):
        places = (work_dir / Path(text).name, Path(text))
        named = [path for path in places if path.suffix == ".pth" and path.is_file()][:1]
    numbered: list[tuple[int, Path]] = []
    for path in work_dir.glob("*.pth"):
        if found := re.fullmatch(r"(?:epoch|iter)_(\d+)\.pth", path.name):
            numbered.append((int(found.group(1)), path))
    yield from named
    yield from (
        path for _, path in sorted(numbered, reverse=True) if path.resolve() not in {n.resolve() for n in named}
    )
