"""Run a model on fake tensors, and count the memory and the operations that real tensors would take."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_aten = torch.ops.aten
_device = torch.ops.prim.device.default


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# Operation counts for attention on the CPU; torch's counter covers only attention on GPUs.
_CPU_ATTENTION = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class LiveBytes(TorchDispatchMode):
    """Count the bytes of live storages, each storage once however many tensors share it.

    Attributes:
        now: Bytes of the storages that are live.
        peak: Largest value of ``now`` so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed; storages of results are added automatically."""
        storage = tensor.untyped_storage()  # the same object for all tensors that share it
        if id(storage) not in self._known:
            size = storage.nbytes()
            self._known.add(id(storage))
            weakref.finalize(storage, self._free, id(storage), size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is _device:
            return result
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self.add(value)
        return result


class _AssumedValues(TorchDispatchMode):
    """Assume values where code reads them, since fake tensors have none.

    Scalars are 0.5, 1 or True, and masks select everything, so that sizes are the largest possible.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _device:  # most calls: the device of a fake tensor is read again and again
            return args[0].fake_device
        if func is _aten._local_scalar_dense.default:
            return 0.5 if args[0].is_floating_point() else args[0].dtype == torch.bool or 1
        if func is _aten.nonzero.default:
            return args[0].new_zeros(args[0].numel(), args[0].ndim, dtype=torch.long)
        if func is _aten.index.Tensor:
            args = (args[0], [part for index in args[1] for part in _all_of(index)], *args[2:])
        return func(*args, **(kwargs or {}))


def _all_of(index: Tensor | None) -> list[Tensor | None]:
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return [index]
    return [index.new_zeros(index.numel(), dtype=torch.long) for _ in range(index.ndim)]


@contextmanager
def without_memory() -> Iterator[None]:
    """Make tensors fake within the block: they have shapes and dtypes, but neither values nor memory."""
    with FakeTensorMode(), _AssumedValues():
        yield


def live_bytes(model: nn.Module) -> LiveBytes:
    """Return a context manager that counts live bytes, starting with a model's parameters, buffers and gradients."""
    live = LiveBytes()
    for tensor in (*model.parameters(), *model.buffers()):
        live.add(tensor)
        if tensor.grad is not None:
            live.add(tensor.grad)
    return live


def operations() -> FlopCounterMode:
    """Return a context manager that counts floating point operations.

    It keeps tensors alive longer than needed, so bytes are counted in a separate run.
    """
    return FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)


def materialised(model: nn.Module) -> nn.Module:
    """Move a model in place from torch's ``meta`` device to the CPU, within :func:`without_memory`."""
    return model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu"))
