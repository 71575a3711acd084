"""Find the checkpoint of an interrupted run, and resume from it."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from samplug.checkpoints import WeightsError, read_checkpoint
from samplug.datasets.seeding import SeededDataset
from samplug.engine.resume_check import check_resumable
from samplug.engine.resume_schedule import CHOICES, advance
from samplug.engine.resume_settings import changed_in_config, differences, in_force, take_settings_of_config
from samplug.engine.resume_state import STATE_KEY, own_generators, set_accumulated_gradients
from samplug.engine.work_folder import is_file, last_checkpoint
from samplug.utils.errors import check_choice


def latest_checkpoint(work_dir: str | Path, fall_back: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """Find the newest readable checkpoint of a work directory.

    The record ``last_checkpoint`` names the newest one. Unfinished files of a killed run have other names and are
    ignored.

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
    name = last_checkpoint(work_dir)
    named = [Path(name)] if name and name.endswith(".pth") and is_file(Path(name)) else []
    numbered: list[tuple[int, Path]] = []
    for path in work_dir.glob("*.pth"):
        if (found := re.fullmatch(r"(?:epoch|iter)_(\d+)\.pth", path.name)) and is_file(path):
            numbered.append((int(found.group(1)), path))
    yield from named
    yield from (
        path for _, path in sorted(numbered, reverse=True) if path.resolve() not in {n.resolve() for n in named}
    )


class Resumption:
    """Check a checkpoint before MMEngine loads it to resume a run, and restore samplug's own state afterwards.

    Args:
        runner: Runner of the training.
        checkpoint: Content of the checkpoint; modified, so that MMEngine loads only valid entries.
        file: Name of the checkpoint, for messages.
        resume_optimizer: Load the optimiser's state.
        resume_param_scheduler: Load the states of the schedules, unless the config has ``resume_schedule='config'``.

    Attributes:
        loads_schedule: True if MMEngine should load the states of the schedules.

    Raises:
        WeightsError: The checkpoint contains no training state, or does not fit the run.
        ConfigError: ``resume_schedule`` is unknown, or the checkpoint has more iterations than the config.
    """

    def __init__(
        self,
        runner: Any,
        checkpoint: dict[str, Any],
        file: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
    ) -> None:
        choice = runner.cfg.get("resume_schedule", "checkpoint")
        check_choice("config", "resume_schedule", choice, CHOICES)
        lacking = [key for key in ("meta", "message_hub", "optimizer") if key not in checkpoint]
        if lacking:
            raise WeightsError(
                f"resume: {file} holds no training state (no {', '.join(lacking)}): to start from its weights use "
                f"load_from={file!r} without --resume"
            )
        self.runner, self.checkpoint, self.file = runner, checkpoint, file
        self.from_config = choice == "config"
        self.loads_schedule = resume_param_scheduler and not self.from_config
        self.tells = resume_optimizer and resume_param_scheduler
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        if self.from_config and resume_optimizer:
            take_settings_of_config(runner, checkpoint, file)
        check_resumable(runner, checkpoint, file, resume_optimizer, self.loads_schedule)
        self._differing = differences(runner, checkpoint) if self.tells and self.loads_schedule else []
        self._changed = changed_in_config(runner, checkpoint)
        # MMEngine would execute the stored config, and write the other entries into this run's checkpoints.
        checkpoint["meta"].pop("config", None)
        for key in ("cfg", "experiment_name", "mmengine_version", "seed"):
            checkpoint["message_hub"]["runtime_info"].pop(key, None)

    def finish(self) -> dict[str, Any] | None:
        """Restore the state that samplug adds to checkpoints, and log the schedule in force.

        Returns:
            States of this rank's random generators for the loop; None if the checkpoint has none.
        """
        runner, meta = self.runner, self.checkpoint["meta"]
        generators = None
        if state := meta.get(STATE_KEY):
            runner.train_loop.samples_seen = state["samples_seen"]
            set_accumulated_gradients(runner.bare_model, state["gradients"])
            generators = own_generators(state)
            if generators is None:
                runner.logger.warning(
                    f"resume: {self.file} was written by {len(state['generators'])} processes, now there are "
                    f"{runner.world_size}: random numbers of the model's forward pass start from the seed again (data "
                    "and augmentation are not affected)"
                )
        seed, dataset = meta.get("seed"), runner.train_loop.dataloader.dataset
        if seed is not None and isinstance(dataset, SeededDataset) and dataset.augmentation_seed != seed:
            runner.logger.warning(
                f"resume: {self.file} was written with seed {seed}, but the order of the data now follows seed "
                f"{dataset.augmentation_seed}, so some samples are repeated: set randomness=dict(seed={seed}) to "
                "continue exactly as without the interruption"
            )
        if self.from_config:
            advance(runner, meta["iter"], meta["epoch"])
        if self.tells:
            line, notable = in_force(runner, self.file, self.from_config, self._differing, self._changed)
            runner.logger.log(logging.WARNING if notable else logging.INFO, line)
        return generators
