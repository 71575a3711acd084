"""Loading transforms."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from samplug.datasets.io import DataError, read_image, read_mask
from samplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Reads ``img_path``, unless the dataset made the image.

    Adds ``img`` (H, W, 3) uint8 BGR, ``img_shape`` and ``ori_shape`` (H, W).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "img" not in results:
            results["img"] = read_image(results["img_path"])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadBinaryMask(BaseTransform):
    """Reads ``seg_map_path``, unless the dataset made the mask.

    Adds ``gt_seg_map`` (H, W) uint8, 1 = foreground, 0 = background. ``mask_values``, which the dataset supplies, says where the
    foreground is: ``'0/255'`` above 128, ``'0/1'`` above 0.

    Raises:
        DataError: A mask of another size than its image, or of the other kind than its dataset's.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "gt_seg_map" not in results:
            results["gt_seg_map"] = self._read(results)
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def _read(self, results: dict[str, Any]) -> np.ndarray:
        path = results["seg_map_path"]
        mask = read_mask(path)
        if mask.shape != results["ori_shape"]:
            raise DataError(
                f"data: mask {path} is {mask.shape[1]}x{mask.shape[0]}, its image {results['img_path']} is "
                f"{results['ori_shape'][1]}x{results['ori_shape'][0]}: masks must have the size of their images"
            )
        highest = int(mask.max())
        if results["mask_values"] == "0/1":
            if highest > 1:
                raise DataError(
                    f"data: mask {path} has values up to {highest} in a dataset of 0/1 masks: set mask_values or mend it"
                )
            return mask
        if highest == 1:
            raise DataError(f"data: mask {path} holds 0/1 in a dataset of 0/255 masks: set mask_values or mend it")
        return (mask > 128).astype(np.uint8)
