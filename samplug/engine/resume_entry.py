"""Read the content of a checkpoint with type checks; errors name the file, the key and the value found."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NoReturn

import torch

from samplug.checkpoints import WeightsError
from samplug.checkpoints.contents import is_finite

ADVICE = "resume from another checkpoint (--resume FILE), or train from its weights: load_from=FILE without --resume"
_DEPTH = 50
_ENTRIES = 1_000_000
_SHOWN = 40


class Entry:
    """Value of a checkpoint, with checked access.

    Args:
        file: Name of the checkpoint.
        value: The value.
        place: Dotted keys of the value, such as ``optimizer.param_groups[0].lr``.

    Raises:
        WeightsError: From all methods, if the value is not of the requested kind; the message names file and place.
    """

    def __init__(self, file: str, value: Any, place: str = "") -> None:
        self.file, self.value, self.place = file, value, place

    def fail(self, expected: str, advice: str = ADVICE, found: str = "") -> NoReturn:
        """Raise a WeightsError with the expected and the found value."""
        raise WeightsError(
            f"resume: {self.file}: {self.place or 'the checkpoint'} is {found or _shown(self.value)}, expected "
            f"{expected}: {advice}"
        )

    def __getitem__(self, key: str | int) -> "Entry":
        """Return an entry of a mapping or list."""
        values = self.mapping() if isinstance(key, str) else self.value
        if isinstance(values, Mapping) and key not in values:
            self.fail(f"an entry {key!r}", found=f"a {type(self.value).__name__} without {key!r}")
        dotted = isinstance(key, str) and key.isidentifier()
        place = f"{self.place}.{key}".lstrip(".") if dotted else f"{self.place}[{_shown(key)}]"
        return Entry(self.file, values[key], place)

    def get(self, key: str) -> "Entry | None":
        """Return an entry of a mapping; None if it is missing or None."""
        return self[key] if self.mapping().get(key) is not None else None

    def mapping(self) -> Mapping[Any, Any]:
        if not isinstance(self.value, Mapping):
            self.fail("a dict")
        return self.value

    def named(self) -> "dict[str, Entry]":
        """Return the entries of a dict with string keys."""
        for key in self.mapping():
            if not isinstance(key, str):
                self.fail("a dict with texts as keys", found=f"a dict with the key {_shown(key)}")
        return {key: self[key] for key in self.value}

    def items(self, length: int | None = None) -> "list[Entry]":
        """Return the entries of a list or tuple; ``length`` is the expected length, None for any."""
        if not isinstance(self.value, list | tuple):
            self.fail("a list")
        if length is not None and len(self.value) != length:
            self.fail(f"{length} entries", found=_shown(self.value))
        return [self[index] for index in range(len(self.value))]

    def integer(self, low: int | None = 0, high: int | None = None) -> int:
        """Return a whole number from ``low`` to ``high``; None: no limit."""
        value = self.value
        if not isinstance(value, Integral) or isinstance(value, bool) or not _within(value, low, high):
            self.fail(f"a whole number{_limits(low, high)}")
        return int(value)

    def number(self, low: float | None = None, high: float | None = None, finite: bool = True) -> float:
        """Return a number, which may be a tensor of one element."""
        value = self.tensor().item() if isinstance(self.value, torch.Tensor) and self.value.numel() == 1 else self.value
        if not isinstance(value, Real) or isinstance(value, bool):
            self.fail(f"a number{_limits(low, high)}")
        if (finite and not _finite(value)) or not _within(value, low, high):
            self.fail(f"a {'finite ' if finite else ''}number{_limits(low, high)}")
        return float(value)

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.fail("a text")
        return self.value

    def tensor(self, shape: torch.Size | tuple[int, ...] | None = None, floating: bool | None = None) -> torch.Tensor:
        """Return a plain tensor on the CPU; floating-point values must be finite."""
        value = self.value
        if not isinstance(value, torch.Tensor):
            self.fail("a tensor")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
            self.fail("a plain tensor of real numbers", found=f"a {value.layout} tensor of {value.dtype}")
        if shape is not None and value.shape != shape:
            self.fail(f"a tensor of the shape {tuple(shape)}")
        if floating is not None and value.is_floating_point() != floating:
            self.fail("a tensor of floating-point numbers" if floating else "a tensor of whole numbers")
        if not is_finite(value):
            self.fail("finite numbers", found="a tensor with NaN or infinite values")
        return value

    def like(self, own: Any) -> None:
        """Check that a setting has the same kind as the run's own setting: number, flag, or as many numbers."""
        value = self.value
        if isinstance(own, bool) or (own is None and isinstance(value, bool)):
            if value is not None and not isinstance(value, bool):
                self.fail("True, False or None")
        elif isinstance(own, str):
            if value != own:
                self.fail(repr(own))
        elif isinstance(own, tuple | list):
            for entry, item in zip(self.items(len(own)), own, strict=True):
                entry.like(item)
        elif isinstance(own, Mapping):
            for key in self.mapping():
                Entry(self.file, key, f"a key of {self.place}").number()
                Entry(self.file, value[key], f"{self.place}[{_shown(key)}]").number()
        elif value is not None or own is not None:
            self.number()

    def bounded(self) -> None:
        """Limit the nesting and number of entries, since recursive functions copy, compare and save them."""
        layer, seen = [self.value], 0
        for _ in range(_DEPTH):
            seen += len(layer)
            if seen > _ENTRIES or not layer:
                break
            below: list[Any] = []
            for value in layer:
                if isinstance(value, torch.Tensor):
                    Entry(self.file, value, f"a tensor in {self.place}").tensor()
                elif isinstance(value, Mapping):
                    below += [*value.keys(), *value.values()]
                elif isinstance(value, list | tuple | set | frozenset):
                    below += value
                if seen + len(below) > _ENTRIES:
                    break
            layer = below
        if layer:
            self.fail(f"at most {_DEPTH} levels and {_ENTRIES:,} entries", found="nested deeper, or without an end")


def _shown(value: Any) -> str:
    """Describe a value briefly."""
    if isinstance(value, torch.Tensor):
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if plain and value.dim() == 0:
            return f"a tensor of {_shown(value.item())}"
        return f"a tensor of the shape {tuple(value.shape)}"
    if isinstance(value, list | tuple | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_SHOWN:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, str | int | float):
        text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...'"
    return f"a {type(value).__name__}"


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


def _within(value: Any, low: float | None, high: float | None) -> bool:
    return bool((low is None or value >= low) and (high is None or value <= high))


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else f" up to {high}" if high is not None else ""
