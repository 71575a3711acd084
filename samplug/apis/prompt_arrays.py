"""Convert prompts to arrays, and check their dtypes, shapes, values and coordinates."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from samplug.utils.errors import DataError

Outside = Literal["error", "clamp"]


class PromptArrays(NamedTuple):
    """Checked prompts, float32, in image pixels; shapes as in :meth:`Predictor.predict`."""

    points: NDArray[np.float32] | None
    labels: NDArray[np.float32] | None
    boxes: NDArray[np.float32] | None
    mask: NDArray[np.float32] | None

    @property
    def many(self) -> bool:
        """True if the prompts have a first axis of objects."""
        axes = ((self.points, 3), (self.labels, 2), (self.boxes, 2), (self.mask, 4))
        return any(array is not None and array.ndim == ndim for array, ndim in axes)


def read_prompts(
    points: ArrayLike | None,
    labels: ArrayLike | None,
    boxes: ArrayLike | None,
    mask: ArrayLike | None,
    size: tuple[int, int],
    side: int,
    outside: Outside,
) -> PromptArrays:
    """Convert and check the prompts of :meth:`Predictor.predict`.

    Args:
        points: Clicks. All prompts may be lists, arrays or tensors on any device, of numbers of any type.
        labels: Labels of the clicks.
        boxes: Boxes.
        mask: Mask logits.
        size: (height, width) of the image.
        side: Side of a mask prompt.
        outside: ``'clamp'`` moves points outside the image to its border, ``'error'`` raises an error.

    Raises:
        DataError: A prompt is invalid.
    """
    point_array = _numbers("point_coords", points, (2, 3), 2)
    label_array = _labels(labels)
    box_array = _numbers("box", boxes, (1, 2), 4)
    mask_array = _logits(mask, side)
    if (point_array is None) != (label_array is None) or (
        point_array is not None and label_array is not None and point_array.shape[:-1] != label_array.shape
    ):
        raise DataError("predictor: point_coords (K, 2) need point_labels (K,): 1 on the object, 0 off it")
    _check_order(box_array)
    point_array, box_array = (_inside(array, size, outside) for array in (point_array, box_array))
    return PromptArrays(point_array, label_array, box_array, mask_array)


def _numbers(name: str, value: ArrayLike | None, ndims: tuple[int, int], last: int | None) -> NDArray[Any] | None:
    """Convert a prompt to float32.

    Raises:
        DataError: It does not consist of finite numbers, or has another shape.
    """
    if value is None:
        return None
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"its dtype is {array.dtype}")
        with np.errstate(over="ignore"):  # becomes infinite, refused below
            array = array.astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"predictor: {name} cannot be read as an array of numbers: {error}") from error
    if array.ndim not in ndims or (last is not None and array.shape[-1] != last) or not array.size:
        raise DataError(f"predictor: {name} has the shape {array.shape}; Predictor.predict lists the shapes")
    if not np.isfinite(array).all():
        raise DataError(f"predictor: {name} has values that are not finite")
    return array


def _labels(value: ArrayLike | None) -> NDArray[Any] | None:
    labels = _numbers("point_labels", value, (1, 2), None)
    if labels is not None and not set(np.unique(labels)) <= {-1, 0, 1}:
        raise DataError(f"predictor: point_labels must be 1 or 0, found {np.unique(labels)[:9].tolist()}")
    return labels


def _logits(value: ArrayLike | None, side: int) -> NDArray[Any] | None:
    mask = _numbers("mask_input", value, (3, 4), None)
    if mask is None:
        return None
    if mask.shape[-3:] != (1, side, side):
        raise DataError(
            f"predictor: mask_input has the shape {mask.shape}, expected (1, {side}, {side}) logits: "
            "low_res[i][None] of an earlier call"
        )
    kind = value.dtype if isinstance(value, torch.Tensor) else np.asarray(value).dtype
    if kind in (torch.bool, np.bool_):
        raise DataError(
            "predictor: mask_input is a bool mask, but logits are expected: give low_res[i][None] of an earlier "
            "call, or for example 20.0 * mask - 10"
        )
    return mask


def _check_order(boxes: NDArray[Any] | None) -> None:
    for x0, y0, x1, y1 in () if boxes is None else boxes.reshape(-1, 4):
        if x1 < x0 or y1 < y0:
            raise DataError(
                f"predictor: the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) has x1 < x0 or y1 < y0: give (x0, y0, x1, y1)"
            )


def _inside(places: NDArray[Any] | None, size: tuple[int, int], outside: Outside) -> NDArray[Any] | None:
    """Return points or boxes with all coordinates inside an image.

    Raises:
        DataError: A coordinate is outside, and ``outside`` is ``'error'``.
    """
    if places is None:
        return None
    flat, limit = places.reshape(-1, 2), np.array(size[::-1], np.float32)
    if outside == "clamp":
        return flat.clip(0, limit).reshape(places.shape)
    wrong = ((flat < 0) | (flat > limit)).any(axis=1)
    if wrong.any():
        x, y = flat[wrong.argmax()]
        raise DataError(
            f"predictor: ({x:.7g}, {y:.7g}) is outside the image of {size[1]}x{size[0]} pixels: give (x, y) in image "
            "pixels, or use Predictor(..., outside='clamp') to move it to the border"
        )
    return places
