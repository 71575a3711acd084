"""MMEngine's training loops, going on from any iteration as if they had never stopped.

A checkpoint is written before the validation that is due at the same step, so a resumed run validates first: best score, early stopping
and plateau schedules see what they saw, whether the run was killed before, in or after that validation.
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
    """MMEngine's, which also resumes within an epoch (``CheckpointHook(by_epoch=False)``).

    The sampler passes over the samples that the epoch has had; none of them is read. ``samples_seen`` counts them over all ranks, so
    their number is right for another batch size and another number of ranks too.
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
                f"resume: the checkpoint was written {self.samples_seen} samples into an epoch, which is no multiple of the {step} of a step "
                f"now ({loader.batch_size} in each of {self.runner.world_size} processes): change train_dataloader.batch_size, or take "
                f"the checkpoint of a whole epoch"
            )
        if not done:
            return enumerate(_batches(self))
        self.runner.logger.info(f"resume: epoch {self._epoch + 1} goes on after {done} of {len(loader)} batches")
        sampler = _draws(loader)
        if sampler is None:
            self.runner.logger.warning(
                "resume: a batch sampler of its own kind cannot skip: passed batches are read once more"
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
    """MMEngine's; resuming skips in the sampler for finite samplers too, and after a change of batch size or ranks.

    ``samples_seen`` counts the samples trained on, over all ranks.
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
            self.runner.logger.warning("resume: fast_forward_on_resume: the data begin anew")
            return
        seen = self.samples_seen or self._iter * _samples_per_step(self)
        self.samples_seen = seen
        sampler, mine = _draws(self.dataloader), seen // self.runner.world_size
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
    """Over all ranks; the last step of an epoch may have fewer."""
    size = loop.dataloader.batch_size or getattr(loop.dataloader.batch_sampler, "batch_size", 1)
    return size * loop.runner.world_size


def _batches(loop: Any) -> Iterator[Any]:
    """The loader's batches; a failing loader is explained."""
    with explained(loop.runner):
        iterator = iter(loop.dataloader)
    while True:
        with explained(loop.runner):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        yield batch


def _draws(loader: DataLoader) -> SeededSampler | None:
    """The loader's sampler, if batches are cut from it in turn, so that it can begin at a later one."""
    plain = type(loader.batch_sampler) is BatchSampler
    return loader.sampler if plain and isinstance(loader.sampler, SeededSampler) else None
