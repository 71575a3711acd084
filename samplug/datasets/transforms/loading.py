"""Transforms that load images and masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
from mmcv.transforms import BaseTransform
from numpy.typing import NDArray

from samplug.datasets.mask_values import Labels, MaskValues
from samplug.imaging.files import read_image, read_mask
from samplug.registry import TRANSFORMS
from samplug.utils.errors import ConfigError, DataError

SizeMismatch = Literal["stop", "resize_mask"]


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read ``img_path``, unless the dataset generated the image.

    Adds ``img`` (H, W, 3) uint8 BGR, ``img_shape`` and ``ori_shape`` (H, W).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "img" not in results:
            results["img"] = read_image(results["img_path"])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadBinaryMask(BaseTransform):
    """Read ``seg_map_path``, or take the ``generated_map`` of a generated scene.

    Adds ``gt_seg_map`` (H, W) uint8: 1 foreground, 0 background, 255 ignored. The dataset provides ``mask_values``, a
    spec of :class:`samplug.datasets.mask_values.MaskValues`, and may provide ``size_mismatch``: ``'stop'`` (default) or
    ``'resize_mask'``.

    Raises:
        DataError: A mask has another size than its image, or a value to which ``mask_values`` gives no meaning.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "generated_map" in results:
            results["gt_seg_map"] = results.pop("generated_map")
        else:
            results["gt_seg_map"] = load_labels(
                results["seg_map_path"],
                results["ori_shape"],
                results["img_path"],
                results["mask_values"],
                results.get("size_mismatch", "stop"),
            )
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class LoadRegionMap(BaseTransform):
    """Read ``seg_map_path``, a label map each value of which is a region, or take the ``generated_map`` of a scene.

    Adds ``gt_seg_map`` (H, W) uint8 or uint16, the values of the file. The dataset may provide ``no_region``, the value
    of pixels that belong to none.

    Raises:
        DataError: See :func:`load_regions`.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "generated_map" in results:
            results["gt_seg_map"] = results.pop("generated_map")
        else:
            results["gt_seg_map"] = load_regions(
                results["seg_map_path"], results["ori_shape"], results["img_path"], results.get("no_region")
            )
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results


def load_regions(
    map_path: str | Path, image_shape: tuple[int, int], image_path: str | Path, no_region: int | None = None
) -> NDArray[Any]:
    """Read a label map, each value of which is a region.

    Args:
        map_path: File of the label map.
        image_shape: (H, W) of the image.
        image_path: File of the image, for messages.
        no_region: Value of pixels that belong to no region; None: all pixels belong to one.

    Returns:
        (H, W) uint8 or uint16, the values of the file; palette indexes if it has a palette of colours.

    Raises:
        DataError: The file cannot be read, has colours, another size than its image, or one value for all pixels
            although ``no_region`` is None.
    """
    labels = read_mask(map_path)
    if labels.ndim == 3:
        raise DataError(f"data: {map_path} has colours: a label map is a grey image, one value a region")
    check_size(labels, map_path, image_shape, image_path)
    if no_region is None and (labels == labels.flat[0]).all():
        raise DataError(
            f"data: label map {map_path} has one value, {labels.flat[0]}: there is no second region to tell apart; "
            "leave the image out, or name another folder"
        )
    return labels


def load_labels(
    mask_path: str | Path,
    image_shape: tuple[int, int],
    image_path: str | Path,
    spec: str | Mapping[str, Any] | MaskValues,
    size_mismatch: SizeMismatch = "stop",
) -> Labels:
    """Read a mask file and map its values to labels.

    Args:
        mask_path: File of the mask.
        image_shape: (H, W) of the image.
        image_path: File of the image, for messages.
        spec: Meaning of the mask values, see :class:`MaskValues`.
        size_mismatch: ``'stop'`` raises an error if mask and image differ in size; ``'resize_mask'`` resizes the mask
            to the image by nearest neighbour.

    Returns:
        (H, W) uint8: 1 foreground, 0 background, 255 ignored.

    Raises:
        ConfigError: ``spec`` or ``size_mismatch`` is invalid.
        DataError: The mask cannot be read, has another size than its image, or has values without a meaning.
    """
    return labels_from_mask(read_mask(mask_path), mask_path, image_shape, image_path, spec, size_mismatch)


def labels_from_mask(
    raw: NDArray[Any],
    mask_path: str | Path,
    image_shape: tuple[int, int],
    image_path: str | Path,
    spec: str | Mapping[str, Any] | MaskValues,
    size_mismatch: SizeMismatch = "stop",
) -> Labels:
    """Do the work of :func:`load_labels` for a mask ``raw`` that ``read_mask`` has read from ``mask_path``."""
    if size_mismatch not in ("stop", "resize_mask"):
        raise ConfigError(f"size_mismatch={size_mismatch!r} is not 'stop' or 'resize_mask'")
    values = MaskValues.parse(spec)
    height, width = image_shape
    if size_mismatch == "stop":
        check_size(raw, mask_path, image_shape, image_path, " (size_mismatch='resize_mask' resizes them)")
    elif raw.shape[:2] != (height, width):
        raw = cv2.resize(raw, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return values.labels(raw, mask_path)


def check_size(
    raw: NDArray[Any], mask_path: str | Path, image_shape: tuple[int, int], image_path: str | Path, remedy: str = ""
) -> None:
    """Raise a DataError if a mask ``raw``, (H, W) or (H, W, 3), has another size than its image."""
    height, width = image_shape
    if raw.shape[:2] == (height, width):
        return
    rotated = ""
    if raw.shape[:2] == (width, height):
        rotated = ", or the image has an EXIF rotation that the mask lacks: save both upright"
    raise DataError(
        f"data: mask {mask_path} is {raw.shape[1]}x{raw.shape[0]}, its image {image_path} is {width}x{height}: "
        f"masks must have the size of their images{remedy}{rotated}"
    )
