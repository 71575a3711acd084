"""Find the state dict in a checkpoint, and check that a model can load its values."""

from collections.abc import Mapping, Set
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.families import without_shared_prefix, without_torch_wrappers
from samplug.utils.text import gib, listed

_PLACES = ("state_dict", "model", "model_state_dict")
_DEPTH = 3
_FLOATS = frozenset({
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
})  # fmt: skip
_INTEGERS = frozenset({
    torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
})  # fmt: skip
_COMPLEX = frozenset({torch.complex64, torch.complex128})


def state_dict_of(checkpoint: Mapping[str, Any], origin: str = "the checkpoint") -> dict[str, Tensor]:
    """Return the state dict of a checkpoint.

    It is the entry ``state_dict`` or ``model``, else the only mapping of tensors, else the checkpoint itself. Prefixes
    of torch's wrappers (``_orig_mod.``, ``module.`` of DataParallel) are removed.

    Args:
        checkpoint: Content of a weight file.
        origin: Source of the checkpoint, for messages.

    Returns:
        Dense tensors on the CPU, of real numbers, complex numbers or bools, each with a storage of its full size.

    Raises:
        WeightsError: The checkpoint contains no weights, a key is not a string, or an entry is not a dense tensor.
    """
    place, found = _find(checkpoint, origin)
    if place:
        _refuse_nested(found, f"{origin}: {place}")
    state = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    for key, value in state.items():
        if not isinstance(key, str):
            raise WeightsError(
                f"weights: {origin} names an entry {key!r} ({type(key).__name__}), expected names of parameters: it is "
                "no state dict of a model"
            )
        if fault := _fault(value):
            raise WeightsError(f"weights: {origin}: {key} is {fault}")
    state = without_torch_wrappers(state)
    stripped = without_shared_prefix(state)
    return stripped[1] if stripped and stripped[0] == "module" else state


def _find(checkpoint: Mapping[Any, Any], origin: str) -> tuple[str, Mapping[Any, Any]]:
    """Return the key of the state dict and the state dict; the key is empty for the checkpoint itself."""
    place, found = "", checkpoint
    for _ in range(_DEPTH):
        inner = {key: value for key, value in found.items() if isinstance(value, Mapping)}
        has_tensors = any(isinstance(value, Tensor) for value in found.values())
        sets = [key for key, value in inner.items() if _looks_like_weights(value)]
        named = [key for key in _PLACES if key in (sets or ([] if has_tensors else inner))]
        if not named and (has_tensors or (place and not sets)):
            break
        if not named and len(sets) != 1:
            what = f"several sets of weights ({listed(sets, 5)})" if sets else f"no weights ({_kinds(found)})"
            raise WeightsError(f"weights: {origin} holds {what}: save the state dict of the model alone")
        key = named[0] if named else sets[0]
        # MMEngine's EMAHook keeps the averaged weights as state_dict, and resumes from both: nothing is left out.
        if others := [other for other in sets if other not in (key, "ema_state_dict")]:
            print_log(f"weights: {origin}: {key!r} is loaded, not {listed(map(repr, others), 5)}", logger="current")
        place, found = str(key), inner[key]
    return place, found


def _looks_like_weights(value: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, str) for key in value) and any(isinstance(entry, Tensor) for entry in value.values())


def _kinds(content: Mapping[Any, Any]) -> str:
    return listed([f"{str(key)[:40]}: {type(value).__name__}" for key, value in content.items()], 4) or "nothing"


def _refuse_nested(state: Mapping[Any, Any], place: str) -> None:
    """Raise a WeightsError for entries that nest values in other containers than tensors."""
    for key, value in state.items():
        # Some trainers leave numbers, strings and None in the state dict; these are not weights.
        if not isinstance(value, Tensor | str | bytes | int | float | None):
            raise WeightsError(
                f"weights: {place} has an entry {str(key)[:80]!r} of type {type(value).__name__}, expected a tensor: "
                "save the state dict of the model alone"
            )


def _fault(value: Tensor) -> str:
    """Return why a tensor is not a plain dense tensor, and the remedy; an empty string if it is one."""
    if value.is_meta:
        return "on the meta device, without values: load the weights before saving"
    if value.layout != torch.strided or value.is_nested:
        return f"a sparse or nested tensor ({value.layout}): save it with .to_dense()"
    if value.is_quantized:
        return f"quantized ({value.dtype}): save it with .dequantize()"
    if value.dtype not in _FLOATS | _INTEGERS | _COMPLEX | {torch.bool}:
        return f"of the unsupported dtype {value.dtype}: save it as float32"
    held = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > held:
        claimed = gib(value.numel() * value.element_size())
        return f"expanded, {claimed} in shape {tuple(value.shape)} from {held:,} bytes: save it with .contiguous()"
    return ""


def check_values(
    pairs: Mapping[str, tuple[Tensor, Tensor]], origin: str, may_be_infinite: Set[str] = frozenset()
) -> None:
    """Check that tensors can be copied into a module's tensors without changing their meaning.

    Args:
        pairs: Name -> (tensor of the file, tensor of the module).
        origin: Source of the values, for messages.
        may_be_infinite: Names whose values need not be finite.

    Raises:
        WeightsError: Values are of another kind (floats, integers, complex numbers, bools), do not fit the module's
            dtype, or are not finite.
    """
    kinds = [name for name, (value, own) in pairs.items() if _kind(value) is not _kind(own)]
    if kinds:
        value, own = pairs[kinds[0]]
        raise WeightsError(
            f"weights: {origin} holds {value.dtype} where the module has {own.dtype}: {listed(kinds, 4)}. The values "
            "have another meaning, as in a quantized model: use the file with the original weights"
        )
    broken = [
        name for name, (value, own) in pairs.items() if name not in may_be_infinite and not _representable(value, own)
    ]
    if broken:
        raise WeightsError(
            f"weights: {origin} holds NaN, infinity or values outside of the module's dtype in {len(broken)} of "
            f"{len(pairs)} entries ({listed(broken, 4)}): the training that wrote it had diverged, or the file is "
            "damaged: take an earlier checkpoint, or fetch it again"
        )


def _kind(value: Tensor) -> frozenset[torch.dtype]:
    kinds = (_FLOATS, _INTEGERS, _COMPLEX)
    return next((kind for kind in kinds if value.dtype in kind), frozenset({torch.bool}))


def _representable(value: Tensor, own: Tensor) -> bool:
    if value.dtype in _INTEGERS:
        return value.dtype == own.dtype or torch.equal(value.to(own.dtype).to(value.dtype), value)
    return is_finite(value if value.dtype == own.dtype else value.to(own.dtype))


@torch.no_grad()
def is_finite(value: Tensor) -> bool:
    """Return True if no element is NaN or infinite; always True on the meta device."""
    if value.dtype in _COMPLEX:
        value = torch.view_as_real(value.resolve_conj())
    if value.dtype not in _FLOATS or not value.numel() or value.is_meta:
        return True
    if value.element_size() == 1:  # float8 has no comparisons
        value = value.float()
    return all(bool(torch.isfinite(bound)) for bound in torch.aminmax(value))  # one pass, no copy
