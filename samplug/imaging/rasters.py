"""Read images of any size, depth and number of bands as 8-bit BGR by one rule.

GeoTIFF files need the extra ``geo``. The rule is the same for files and arrays: values of 8 bits are kept, 16 bits are
scaled from 0..65535 to 0..255 as in training (``read_image``), and three bands are taken if there are more.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray
from PIL import Image

from samplug.imaging.files import eight_bits, read_image
from samplug.imaging.limits import LARGEST_PIXELS
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.regular_files import open_regular

Bands = tuple[int, int, int]

_TIFF = (".tif", ".tiff")
_FIRST_BANDS = (1, 2, 3)
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory.
_GEO_TAGS = {33550, 33922, 34264, 34735}
_EXTRA = "pip install 'samplug[geo]' (rasterio)"


class Raster(Protocol):
    """An image that can be read in parts."""

    shape: tuple[int, int]  # height, width

    def crop(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return a part as (h, w, 3) uint8 BGR; both slices have a start and a stop."""


@dataclass(frozen=True)
class Georeference:
    """Position of a raster: rasterio's coordinate reference system (None: unknown) and affine transform of pixels."""

    crs: Any
    transform: Any


class ArrayRaster:
    """An image in memory.

    Args:
        pixels: (H, W, 3) uint8 BGR.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.shape = (pixels.shape[0], pixels.shape[1])

    def crop(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        return self.pixels[rows, columns]


class BandRaster:
    """Three bands of a TIFF file, read in windows by rasterio, so that files may be larger than memory.

    Args:
        path: TIFF file.
        bands: Numbers (from 1) of the bands to read as red, green, blue.

    Raises:
        DataError: The file cannot be read, has several pages, too few bands or more than 2**30 pixels, or has values
            other than unsigned 8 or 16 bits.
    """

    def __init__(self, path: Path, bands: Bands) -> None:
        self.path, self.bands = path, bands
        with _opened(path) as file:
            if file.subdatasets:  # overviews and masks do not count
                raise DataError(
                    f"data: {path} holds {len(file.subdatasets)} frames or pages: extract the one you mean to a file "
                    "of its own"
                )
            if file.height * file.width > LARGEST_PIXELS:
                raise DataError(f"data: {path} is too large ({file.width}x{file.height}): cut it into tiles")
            self.shape = (file.height, file.width)
            _check_bands(path, bands, file.count)
            kinds = {file.dtypes[band - 1] for band in bands}
        if len(kinds) > 1 or not kinds <= {"uint8", "uint16"}:
            raise DataError(
                f"data: {path} has bands of {', '.join(sorted(kinds))}: convert them to unsigned 8 or 16 bits, as in "
                "training"
            )

    def crop(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        from rasterio.windows import Window

        with _opened(self.path) as file:
            # Red, green, blue -> BGR, channels last.
            values = file.read(self.bands[::-1], window=Window.from_slices(rows, columns))
        return eight_bits(np.ascontiguousarray(values.transpose(1, 2, 0)))


def open_raster(path: Path, bands: Bands | None = None) -> Raster:
    """Open an image file.

    ``read_image`` reads it as in training; rasterio reads TIFF files that it refuses (more bands, too large).

    Args:
        path: The file.
        bands: Numbers (from 1) of the bands of a TIFF file that are read as red, green, blue. None: those of a colour
            picture, or the first three, with a note.

    Raises:
        DataError: The file cannot be read.
        ConfigError: ``bands`` are given and rasterio is not installed.
    """
    is_tiff = path.suffix.lower() in _TIFF
    if bands is not None:
        if not is_tiff:
            raise DataError(f"data: {path} is no TIFF: bands={bands} can be chosen for TIFF files and arrays only")
        if not _has_rasterio():
            raise ConfigError(f"predict: bands={bands} of TIFF files need {_EXTRA}")
        return BandRaster(path, bands)
    try:
        return ArrayRaster(read_image(path))
    except DataError as error:
        if not is_tiff or not path.is_file():
            raise
        if not _has_rasterio():
            raise DataError(f"{error}; if it has more than four bands or is large: {_EXTRA}") from error
        try:
            raster = BandRaster(path, _FIRST_BANDS)
        except DataError:
            raise error from None  # rasterio fails too: the first reason says more
    _note("TIFF files that read_image refuses are read by rasterio, bands 1, 2, 3 as red, green, blue")
    return raster


def array_raster(pixels: Any, name: str, bands: Bands | None = None) -> Raster:
    """Use an array as an image.

    Args:
        pixels: uint8 or uint16: (H, W) grey, (H, W, 3) BGR, or (H, W, C) with more channels, the first three of which
            are BGR (with a note).
        name: Name for messages.
        bands: Numbers (from 1) of the channels that are read as red, green, blue.

    Raises:
        DataError: The array has another shape or dtype.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype not in (np.uint8, np.uint16):
        found = f"{pixels.dtype} array" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"data: {name} is a {found}: give a path, or an array of uint8 or uint16")
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise DataError(f"data: {name} has the shape {pixels.shape}: give (H, W), or (H, W, 3) in BGR order")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if bands is not None:
        _check_bands(name, bands, pixels.shape[2])
        pixels = pixels[..., [band - 1 for band in bands[::-1]]]
    elif pixels.shape[2] > 3:
        _note(
            f"arrays of {pixels.shape[2]} channels: the first three are taken as blue, green, red; bands=... takes "
            "others"
        )
        pixels = pixels[..., :3]
    elif pixels.shape[2] == 2:
        raise DataError(f"data: {name} has 2 channels: give 1, or 3 or more")
    values: Any = eight_bits(np.ascontiguousarray(pixels))
    if values.shape[2] == 1:
        values = cv2.cvtColor(values, cv2.COLOR_GRAY2BGR)
    return ArrayRaster(values)


def georeference(path: Path) -> Georeference | None:
    """Return the georeference of a TIFF file; None if it has none, for other files and, noted, without rasterio."""
    if path.suffix.lower() not in _TIFF:
        return None
    try:
        if _has_rasterio():
            with _opened(path) as file:
                known = file.crs is not None or not file.transform.is_identity
                return Georeference(file.crs, file.transform) if known else None
        _require_regular(path)
        with Image.open(path, formats=["TIFF"]) as image:
            if _GEO_TAGS & set(image.tag_v2):  # type: ignore[attr-defined]
                _note(f"TIFF files are georeferenced, their predictions will not be: that needs {_EXTRA}")
    except (DataError, OSError):  # a rare variant, which read_image may still read
        pass
    return None


def write_geotiff(path: Path, values: NDArray[Any], where: Georeference) -> None:
    """Write (H, W) uint8 or uint16 as a compressed GeoTIFF.

    Raises:
        OSError: It cannot be written.
    """
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    height, width = values.shape
    try:
        # Write to memory first: on a full disk GDAL may leave a truncated file without an error.
        with MemoryFile() as memory:
            with memory.open(
                driver="GTiff", height=height, width=width, count=1, dtype=values.dtype, crs=where.crs,
                transform=where.transform, compress="deflate", tiled=min(height, width) >= 256, bigtiff="if_safer",
            ) as file:  # fmt: skip
                file.write(values, 1)
            path.write_bytes(memory.getbuffer())
    except RasterioError as error:
        raise OSError(str(error)) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a TIFF file with rasterio; convert errors in the block into a :class:`DataError`.

    Only GDAL's TIFF driver is enabled, since other formats can refer to files and URLs.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    _require_regular(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as file:
                yield file
        except RasterioError as error:
            raise DataError(f"data: {path} cannot be read: {error}; download or copy it again") from error


def _require_regular(path: Path) -> None:
    try:
        open_regular(path).close()
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror}: repair or remove the file") from error


def _check_bands(name: Any, bands: Bands, number: int) -> None:
    if not all(1 <= band <= number for band in bands):
        raise DataError(
            f"data: {name} has {number} bands, not all of {', '.join(map(str, bands))} (counted from 1): choose "
            "bands that it has"
        )


@cache
def _has_rasterio() -> bool:
    from importlib.util import find_spec

    return find_spec("rasterio") is not None


@cache
def _note(text: str) -> None:
    """Log a text once, for any number of files."""
    print_log(text, "current", logging.WARNING)
