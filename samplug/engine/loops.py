"""Training loops that resume at any iteration exactly as if they had not been interrupted.

A checkpoint is written before the validation that is due at the same step, so a resumed run validates first. Best
score, early stopping and plateau schedules then see the same validations, no matter if the run was killed before,
during or after that one.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.runner import EpochBasedTrainLoop as _EpochBasedTrainLoop
from mmengine.runner import IterBasedTrainLoop as _IterBasedTrainLoop
from torch.utils.data import BatchSampler, DataLoader

from samplug.datasets.seeding import SeededSampler
from samplug.engine.run_errors import explained
from samplug.registry import LOOPS
from samplug.utils.errors import ConfigError


@LOOPS.register_module()
class EpochBasedTrainLoop(_EpochBasedTrainLoop):
    """MMEngine's loop that can also resume within an epoch (``CheckpointHook(by_epoch=False)``).

    The sampler skips the samples that the epoch has had, so none of them is read. ``samples_seen`` counts them over all
    ranks, so the position is also right after a change of the batch size or of the number of ranks.
    """

    samples_seen = 0

    def run(self) -> torch.nn.Module:
        self.runner.call_hook("before_train")
        self.runner.restore_generators()
        if self._iter and not self.samples_seen:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, batch in self._remaining_batches():
            self.samples_seen += _samples_per_step(self)
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self.samples_seen = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        with explained(self.runner):
            super().run_iter(idx, data_batch)

    def _remaining_batches(self) -> Iterator[tuple[int, Any]]:
        loader, step = self.dataloader, _samples_per_step(self)
        done, rest = divmod(self.samples_seen, step)
        if rest:
            raise ConfigError(
                f"resume: the checkpoint was written {self.samples_seen} samples into an epoch, which is no multiple "
                f"of the {step} of a step now ({loader.batch_size} in each of {self.runner.world_size} processes): "
                "change train_dataloader.batch_size, or take the checkpoint of a whole epoch"
            )
        if not done:
            return enumerate(_batches(self))
        self.runner.logger.info(f"resume: epoch {self._epoch + 1} continues after {done} of {len(loader)} batches")
        sampler = _seeded_sampler(loader)
        if sampler is None:
            self.runner.logger.warning(
                "resume: this batch sampler cannot skip, so the batches before the checkpoint are read again"
            )
            return islice(enumerate(_batches(self)), done, None)
        sampler.start = done * loader.batch_size
        return enumerate(_batches(self), done)

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        ):
            with explained(self.runner):
                self.runner.val_loop.run()


@LOOPS.register_module()
class IterBasedTrainLoop(_IterBasedTrainLoop):
    """MMEngine's loop that resumes by skipping samples in the sampler.

    It also works for finite samplers, and after a change of the batch size or of the number of ranks. ``samples_seen``
    counts the samples that were trained on, over all ranks.
    """

    samples_seen = 0

    def run(self) -> torch.nn.Module:
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.restore_generators()
        if self._iter:
            self._skip()
            self._validate()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            with explained(self.runner):
                batch = next(self.dataloader_iterator)
            self.samples_seen += _samples_per_step(self)
            self.run_iter(batch)
            self._validate()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self, data_batch: Any) -> None:
        with explained(self.runner):
            super().run_iter(data_batch)

    def _skip(self) -> None:
        if self.fast_forward_on_resume:
            self.runner.logger.warning("resume: fast_forward_on_resume is set: the data start from the beginning")
            return
        seen = self.samples_seen or self._iter * _samples_per_step(self)
        self.samples_seen = seen
        sampler, mine = _seeded_sampler(self.dataloader), seen // self.runner.world_size
        if sampler is None:
            self.dataloader_iterator.skip_iter(self._iter)
        elif hasattr(sampler, "skip"):
            sampler.skip(mine)
        else:
            passes, batches = divmod(mine // self.dataloader.batch_size, len(self.dataloader))
            self.dataloader_iterator._epoch = passes
            sampler.set_epoch(passes)
            sampler.start = batches * self.dataloader.batch_size

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        ):
            with explained(self.runner):
                self.runner.val_loop.run()


def _samples_per_step(loop: Any) -> int:
    """Return the number of samples in a training step over all ranks; the last step of an epoch may have fewer."""
    size = loop.dataloader.batch_size or getattr(loop.dataloader.batch_sampler, "batch_size", 1)
    return size * loop.runner.world_size


def _batches(loop: Any) -> Iterator[Any]:
    """Yield the loader's batches; failures of the loader are explained."""
    with explained(loop.runner):
        iterator = iter(loop.dataloader)
    while True:
        with explained(loop.runner):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


def _seeded_sampler(loader: DataLoader) -> SeededSampler | None:
    """Return the loader's sampler if the loader can start at a later batch, otherwise None.

    It can if it batches the samples in the order of a :class:`SeededSampler`.
    """
    plain = type(loader.batch_sampler) is BatchSampler
    return loader.sampler if plain and isinstance(loader.sampler, SeededSampler) else None
