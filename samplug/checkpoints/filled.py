"""State that is filled from data, such as a memory bank, as opposed to weights.

A module declares it by a method ``filled_state()`` that returns the names of such buffers. A checkpoint may lack them.
If it has them, they are loaded, and may differ from the module's in the first dimension, along which banks grow.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from samplug.utils.errors import UserError
from samplug.utils.text import listed


class EmptyStateError(UserError, RuntimeError):
    """State that is filled from data is empty; the message explains how to fill it."""


def filled_names(model: nn.Module) -> set[str]:
    """Return the names, in the model's state dict, of the buffers that its modules declare in ``filled_state()``."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if hasattr(module, "filled_state")
        for name in module.filled_state()
    }


def fits_filled(value: Tensor, buffer: Tensor) -> bool:
    """Return True if a filled buffer can take ``value``: shapes may differ in the first dimension only."""
    return value.ndim == buffer.ndim and value.shape[1:] == buffer.shape[1:]


def resize_buffers(model: nn.Module, state: dict[str, Tensor], names: Iterable[str]) -> None:
    """Give the named buffers the shapes of their entries in ``state``, with undefined values."""
    for name in names:
        path, _, key = name.rpartition(".")
        module = model.get_submodule(path)
        buffer = module.get_buffer(key)
        if buffer.shape != state[name].shape:
            setattr(module, key, torch.empty(state[name].shape, dtype=buffer.dtype, device=buffer.device))


def require_filled(module: nn.Module, remedy: str) -> None:
    """Raise an error if a buffer of ``module.filled_state()`` has no element; modules call it before they predict.

    Args:
        module: The module that declares the state.
        remedy: Way to fill it, e.g. ``'run tools/fill_bank.py CONFIG CHECKPOINT'``.

    Raises:
        EmptyStateError: There is such a buffer.
    """
    empty = [name for name in module.filled_state() if module.get_buffer(name).numel() == 0]  # type: ignore[operator]
    if empty:
        raise EmptyStateError(f"state: {listed(empty)} of {type(module).__name__} is empty: {remedy}")
