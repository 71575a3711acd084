"""Stand-ins for NumPy's types in checkpoints: plain numbers only, of exactly the bytes that the file holds.

NumPy's own constructors trust their arguments: ``np.ndarray((1,), np.dtype([('a', 'O')]), data)`` makes a Python object
of any address that the file names, and offsets or shapes read memory outside of the data. MMEngine needs neither.
"""

import math
import pickle
from typing import Any

import numpy as np

_KINDS = frozenset(f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248")) for size in sizes)
_PLAIN = _KINDS | {"b1"}


def _refuse(what: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.{what}")


class PlainDtype:
    """Stand-in for ``numpy.dtype``: a number or bool of a known size, of either byte order.

    Raises:
        pickle.UnpicklingError: Another type, such as objects, records and sub-arrays.
    """

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(name, str) or name not in _PLAIN:
            raise _refuse(f"dtype of {str(name)[:40]!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, sub-array, names, fields, size, alignment, flags)
        if not (isinstance(state, tuple) and len(state) == 8 and state[1] in ("<", ">", "|", "=")):
            raise _refuse("dtype with an unknown state")
        if any(part is not None for part in state[2:5]) or tuple(state[5:]) != (-1, -1, 0):
            raise _refuse("dtype of records or sub-arrays")
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray(np.ndarray):
    """Stand-in for ``numpy.ndarray``: made by :func:`reconstruct`, filled from the file, and saved as a plain array.

    Raises:
        pickle.UnpicklingError: The constructor is called, or the state is not that of an array of plain numbers.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "PlainArray":
        raise _refuse("ndarray called with arguments")

    def __setstate__(self, state: Any) -> None:  # type: ignore[override]
        if not (isinstance(state, tuple) and len(state) == 5):
            raise _refuse("ndarray with an unknown state")
        _, shape, dtype, fortran, data = state
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise _refuse(f"ndarray of the shape {str(shape)[:40]}")
        if not (type(dtype) is PlainDtype and isinstance(data, bytes)):
            raise _refuse("ndarray that does not hold plain numbers")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise _refuse(f"ndarray of the shape {shape} with {len(data)} bytes")
        super().__setstate__((1, shape, dtype.dtype, bool(fortran), data))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def reconstruct(kind: Any, shape: Any, code: Any) -> PlainArray:
    """Stand-in for ``numpy._core.multiarray._reconstruct``: an empty array, to be filled."""
    if kind is not PlainArray or shape != (0,) or code != b"b":
        raise _refuse("multiarray._reconstruct with unknown arguments")
    return np.ndarray.__new__(PlainArray, (0,), np.int8)


def scalar(dtype: Any, data: Any = b"") -> Any:
    """Stand-in for ``numpy._core.multiarray.scalar``: one number from exactly its bytes."""
    if type(dtype) is not PlainDtype or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
        raise _refuse("multiarray.scalar that is not a plain number")
    return np.frombuffer(data, dtype.dtype)[0]


STAND_INS: list[tuple[Any, str]] = [
    (PlainArray, "numpy.ndarray"),
    (PlainDtype, "numpy.dtype"),
    *((reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""Pairs of stand-in and the name in the file, for ``torch.serialization.safe_globals``."""
