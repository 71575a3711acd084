"""Read losses from the device once per log line instead of once per iteration."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook
from mmengine.hooks import RuntimeInfoHook as _RuntimeInfoHook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from samplug.registry import HOOKS


class DeferredLosses(Hook):
    """Base of hooks that use the losses of each iteration, but do not wait for the device in each.

    :meth:`use_losses` gets the losses of all iterations, in order, when a ``LoggerHook`` may write a line, at the end
    of an epoch, before a validation and before a checkpoint is written: no reader of these sees an older value.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unread: list[tuple[int, dict[str, Any], list[str]]] = []

    def use_losses(self, runner: Runner, iteration: int, losses: Mapping[str, float], files: list[str]) -> None:
        """Use the losses of one iteration.

        Args:
            runner: The Runner.
            iteration: Number of the iteration, from 1.
            losses: All scalars that the training step returned, by name.
            files: Image files of its batch, as far as the data samples name them.
        """
        raise NotImplementedError

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        scalars = {
            name: value.detach() if isinstance(value, torch.Tensor) else value
            for name, value in (outputs or {}).items()
            if _is_scalar(value)
        }
        self._unread.append((runner.iter + 1, scalars, batch_files(data_batch)))
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        if (
            any(self.every_n_inner_iters(batch_idx, interval) for interval in intervals or [1])
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self.read_losses(runner)

    def before_val(self, runner: Runner) -> None:
        super().before_val(runner)
        self.read_losses(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        super().after_train_epoch(runner)
        self.read_losses(runner)

    def read_losses(self, runner: Runner) -> None:
        """Read all losses that have not been read yet; :class:`SamplugRunner` calls it before it saves."""
        unread, self._unread = self._unread, []
        tensors = [value for _, row, _ in unread for value in row.values() if isinstance(value, torch.Tensor)]
        device = tensors[0].device if tensors else "cpu"
        # One transfer; float64 holds the values of all other types.
        numbers = iter(torch.stack([t.to(device).double().reshape(()) for t in tensors]).tolist() if tensors else [])
        for iteration, row, files in unread:
            losses = {
                name: next(numbers) if isinstance(value, torch.Tensor) else float(value) for name, value in row.items()
            }
            self.use_losses(runner, iteration, losses, files)


@HOOKS.register_module()
class RuntimeInfoHook(DeferredLosses, _RuntimeInfoHook):
    """Put losses, rates and progress into the message hub, as MMEngine's hook of this name does.

    Losses are read from the device when they are logged, see :class:`DeferredLosses`; between two log lines the hub has
    those of the last.
    """

    def use_losses(self, runner: Runner, iteration: int, losses: Mapping[str, float], files: list[str]) -> None:
        for name, value in losses.items():
            runner.message_hub.update_scalar(f"train/{name}", value)


def batch_files(data_batch: Any) -> list[str]:
    """Return the image files of a batch, from its data samples."""
    samples = data_batch.get("data_samples") if isinstance(data_batch, Mapping) else None
    if isinstance(samples, BaseDataElement):  # one for the whole batch, see RecordDataset
        return []
    paths = (getattr(sample, "metainfo", {}).get("img_path") for sample in samples or ())
    return [str(path) for path in paths if path]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
