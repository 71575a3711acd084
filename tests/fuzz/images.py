"""Small pictures of each format that is read, and how each may be mutated."""

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.fuzz import mutations
from tests.fuzz.mutations import JPEG, PNG, TIFF, Mutator

SIZE = (20, 30)  # height, width
BMP = GIF = WEBP = mutations.BYTES


def _pixels(*channels: int, dtype: Any = np.uint8) -> Any:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*SIZE, *channels), dtype)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def encoded(ending: str, pixels: Any, *options: int) -> bytes:
    return cv2.imencode(ending, pixels, options)[1].tobytes()


def picture_files() -> dict[str, tuple[bytes, list[Mutator]]]:
    """A file of each format and kind that is read."""
    colour, grey = Image.fromarray(_pixels(3)), Image.fromarray(_pixels())
    exif = Image.Exif()
    exif[274] = 6
    palette, turned = colour.quantize(16), dict(exif=exif.tobytes())
    tiff_tile = _pixels(dtype=np.uint16)
    return {
        "grey.png": (encoded(".png", _pixels()), PNG),
        "colour16.png": (encoded(".png", _pixels(3, dtype=np.uint16)), PNG),
        "alpha.png": (encoded(".png", _pixels(4)), PNG),
        "palette.png": (_saved(palette, "PNG", transparency=3, **turned), PNG),
        "bits.png": (_saved(grey.convert("1"), "PNG"), PNG),
        "colour.jpg": (_saved(colour, "JPEG", **turned), JPEG),
        "progressive.jpg": (_saved(grey, "JPEG", progressive=True, icc_profile=b"x" * 300), JPEG),
        "cmyk.jpg": (_saved(colour.convert("CMYK"), "JPEG"), JPEG),
        "colour.tif": (_saved(colour, "TIFF", compression="tiff_lzw"), TIFF),
        "grey16.tif": (encoded(".tif", tiff_tile, 259, 1), TIFF),
        "palette.tif": (_saved(palette, "TIFF", compression="packbits"), TIFF),
        "bits.tif": (_saved(grey.convert("1"), "TIFF", compression="group4"), TIFF),
        "jpeg.tif": (_saved(colour, "TIFF", compression="jpeg"), TIFF),
        "colour16.tif": (encoded(".tif", _pixels(3, dtype=np.uint16), 259, 5), TIFF),
        "colour.webp": (encoded(".webp", _pixels(3), 64, 80), WEBP),
        "lossless.webp": (_saved(colour, "WEBP", lossless=True, **turned), WEBP),
        "colour.bmp": (encoded(".bmp", _pixels(3)), BMP),
        "palette.bmp": (_saved(palette, "BMP"), BMP),
        "palette.gif": (_saved(palette, "GIF", transparency=2), GIF),
    }
