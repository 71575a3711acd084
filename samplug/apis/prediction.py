"""The prediction of an image as arrays, files and COCO's run lengths."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samplug.evaluation.metrics.per_image import foreground_map
from samplug.imaging.rasters import Raster, write_geotiff
from samplug.imaging.sources import Source
from samplug.utils.files import replace_file
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.rle import encode_rle
from samplug.visualization import draw_classes, draw_overlay, write_picture

with quiet_optional_operators():
    from mmseg.structures import SegDataSample

MASKS, MAPS, OVERLAYS = "masks", "maps", "overlays"


@dataclass(frozen=True)
class Prediction:
    """Prediction of an image at its original size.

    Attributes:
        source: The image, with ``source.name`` and ``source.path``.
        raster: Pixels of the image.
        sample: ``seg_logits`` (classes, H, W) float32 and ``pred_sem_seg`` (1, H, W) class indexes, on the CPU.
    """

    source: Source
    raster: Raster
    sample: SegDataSample

    @property
    def name(self) -> str:
        """Path of the image without its suffix, relative to the folder that was given."""
        return self.source.name

    @property
    def path(self) -> Path | None:
        """File of the image; None for an array."""
        return self.source.path

    @property
    def logits(self) -> NDArray[np.float32]:
        """Logits, (classes, H, W) float32."""
        return self.sample.seg_logits.data.numpy()

    @property
    def is_binary(self) -> bool:
        """True for foreground against background, one logit per pixel."""
        return len(self.sample.seg_logits.data) == 1

    @property
    def probability(self) -> NDArray[np.uint8]:
        """Probability of the foreground (as in ``test --out``) or of the chosen class, (H, W) uint8, 255 = certain."""
        logits = self.sample.seg_logits.data
        if self.is_binary:
            return foreground_map(logits)
        return (logits.softmax(0).amax(0) * 255).round().byte().numpy()

    @property
    def mask(self) -> NDArray[Any]:
        """Foreground, (H, W) bool; with several classes their indexes, uint8 (uint16 for more than 256 classes)."""
        decision = self.sample.pred_sem_seg.data[0].numpy()
        if self.is_binary:
            return decision > 0
        return decision.astype(np.uint8 if len(self.sample.seg_logits.data) <= 256 else np.uint16)

    def rle(self, label: int = 1) -> dict[str, Any]:
        """Return COCO's compressed run lengths of a class (1: the foreground): ``size`` [H, W], ``counts`` (text)."""
        return encode_rle(self.mask == label)

    def overlay(self) -> NDArray[np.uint8]:
        """Draw the foreground in red on the image, or each class in its own colour; (H, W, 3) uint8 BGR."""
        height, width = self.raster.shape
        draw = draw_overlay if self.is_binary else draw_classes
        return draw(self.raster.crop(slice(0, height), slice(0, width)), self.mask)

    def save(self, folder: str | Path, overlay: bool = True) -> list[Path]:
        """Write mask, map of probabilities and overlay.

        Files are ``masks/NAME.png`` (0 and 255, or class indexes), ``maps/NAME.png`` and ``overlays/NAME.jpg``.

        For a georeferenced TIFF file, mask and map are written as GeoTIFF (``.tif``) with its georeference, if rasterio
        is installed. Each file is whole or missing.

        Args:
            folder: Folder of the results, made if it is missing; files of the same name are replaced.
            overlay: Write the overlay too.

        Returns:
            The files, the mask first, the overlay last.

        Raises:
            DataError: A file cannot be written.
        """
        where = self.source.georeference()
        mask = self.mask.astype(np.uint8) * np.uint8(255) if self.is_binary else self.mask
        pictures: list[tuple[str, NDArray[Any]]] = [(MASKS, mask), (MAPS, self.probability)]
        files = []
        for kind, values in pictures:
            suffix, other = (".tif", ".png") if where else (".png", ".tif")
            files.append(Path(folder) / kind / f"{self.name}{suffix}")
            if where:
                replace_file(files[-1], partial(write_geotiff, values=values, where=where))
            else:
                write_picture(files[-1], values)
            # An earlier run, with or without rasterio, may have left the other file; only one of the two may stay.
            (Path(folder) / kind / f"{self.name}{other}").unlink(missing_ok=True)
        if overlay:
            files.append(Path(folder) / OVERLAYS / f"{self.name}.jpg")
            write_picture(files[-1], self.overlay())
        return files
