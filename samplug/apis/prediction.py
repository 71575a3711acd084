"""What is predicted for an image, as arrays, files and COCO's run lengths."""

from dataclasses import dataclass
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
from samplug.visualization import draw_classes, draw_overlay, encode_picture

with quiet_optional_operators():
    from mmseg.structures import SegDataSample

MASKS, MAPS, OVERLAYS = "masks", "maps", "overlays"


@dataclass(frozen=True)
class Prediction:
    """An image's prediction, at its original size.

    Attributes:
        source: The image: ``source.name``, ``source.path``.
        raster: Its pixels.
        sample: On the CPU: ``seg_logits`` (classes, H, W) float32, ``pred_sem_seg`` (1, H, W) of class indexes.
    """

    source: Source
    raster: Raster
    sample: SegDataSample

    @property
    def name(self) -> str:
        """The image's path without its suffix, relative to the folder that was given."""
        return self.source.name

    @property
    def path(self) -> Path | None:
        """The image's file, if it is one."""
        return self.source.path

    @property
    def logits(self) -> NDArray[np.float32]:
        """(classes, H, W) float32."""
        return self.sample.seg_logits.data.numpy()

    @property
    def is_binary(self) -> bool:
        """Foreground against background, one logit per pixel."""
        return len(self.sample.seg_logits.data) == 1

    @property
    def probability(self) -> NDArray[np.uint8]:
        """(H, W) uint8, 255 = certain: probability of the foreground, as ``tools/test.py --out`` writes it; of the chosen class
        where there are several."""
        logits = self.sample.seg_logits.data
        if self.is_binary:
            return foreground_map(logits)
        return (logits.softmax(0).amax(0) * 255).round().byte().numpy()

    @property
    def mask(self) -> NDArray[Any]:
        """(H, W): bool foreground; with several classes their indexes, uint8 (uint16 where there are more than 256)."""
        decision = self.sample.pred_sem_seg.data[0].numpy()
        if self.is_binary:
            return decision > 0
        return decision.astype(np.uint8 if len(self.sample.seg_logits.data) <= 256 else np.uint16)

    def rle(self, label: int = 1) -> dict[str, Any]:
        """COCO's compressed run lengths of the pixels of a class (1: the foreground): ``size`` [H, W] and ``counts``, a text."""
        return encode_rle(self.mask == label)

    def overlay(self) -> NDArray[np.uint8]:
        """The image with the foreground tinted and outlined in red, or every class in a colour of its own; (H, W, 3) uint8 BGR."""
        height, width = self.raster.shape
        draw = draw_overlay if self.is_binary else draw_classes
        return draw(self.raster.crop(slice(0, height), slice(0, width)), self.mask)

    def save(self, folder: str | Path, overlay: bool = True) -> list[Path]:
        """Write ``masks/NAME.png`` (0 and 255, or class indexes), ``maps/NAME.png`` (probability) and ``overlays/NAME.jpg``.

        Of georeferenced TIFF files, mask and map become GeoTIFF (``.tif``) of the same place, if rasterio is installed. Files are
        written under a temporary name and renamed.

        Args:
            folder: Made where it is missing; files of the same name are replaced, whether ``.png`` or ``.tif``.
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
                replace_file(files[-1], lambda partial, v=values, w=where: write_geotiff(partial, v, w))  # type: ignore[misc]
            else:
                _write_picture(files[-1], values)
            # Of an earlier run, with or without rasterio: of two files nobody could tell which one counts.
            (Path(folder) / kind / f"{self.name}{other}").unlink(missing_ok=True)
        if overlay:
            files.append(Path(folder) / OVERLAYS / f"{self.name}.jpg")
            _write_picture(files[-1], self.overlay())
        return files


def _write_picture(path: Path, picture: NDArray[Any]) -> None:
    replace_file(path, lambda partial: partial.write_bytes(encode_picture(picture, path.suffix)))
