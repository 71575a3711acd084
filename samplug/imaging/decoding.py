"""Decode an image file with a single frame to upright pixels.

The header is read and the size checked before a decoder gets the file: by samplug for JPEG, WEBP and TIFF, by Pillow
for other formats. OpenCV decodes JPEG, PNG, WEBP and 16-bit colour TIFF. Pillow decodes the rest, for which OpenCV
returns no palette indices, wrong values (TIFF with alpha or 1 bit) or nothing.

Truncation is detected from the structure of JPEG, PNG, WEBP and TIFF files. For BMP and GIF, Pillow raises the error,
unless a program sets ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES``.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samplug.imaging.limits import UndecodableError, check_size
from samplug.imaging.structure import HEADERS, IS_WHOLE, Header, gif_frames, png_exif
from samplug.imaging.tiff_tags import (
    BITS,
    BLACK_IS_ZERO,
    PHOTOMETRIC,
    RGB,
    SAMPLES,
    WHITE_IS_ZERO,
    Directory,
    exif_orientation,
    xmp_orientation,
)

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"RIFF": "WEBP",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_TEXT = {
    "a git-lfs pointer, not the file itself: run `git lfs pull` where it was cloned": (b"version https://git-lfs",),
    "a web page: download the file again": (b"<!doctype html", b"<html"),
}
_AGAIN = "download or copy it again"
_DEFLATE = 1032  # largest compression ratio
_MOST_RUN_LENGTH_PIXELS = 2**24  # Pillow decodes compressed BMP in Python, which is slow


@dataclass(frozen=True)
class Picture:
    """The pixels of a file, turned upright.

    Attributes:
        pixels: (H, W) grey values or palette indices, or (H, W, 3) BGR; uint8 or uint16.
        alpha: (H, W) of the same dtype, or None.
        palette: (256, 3) uint8 RGB, zero beyond the file's entries, where ``pixels`` are indices; else None.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    palette: NDArray[np.uint8] | None = None


def decode(content: bytes) -> Picture:
    """Decode a JPEG, PNG, TIFF, WEBP, BMP or GIF file.

    The orientation of EXIF, of XMP or of TIFF's own tag is applied. Values of 8 or 16 bits are kept; grey values of 1,
    2 or 4 bits are spread over 0..255.

    Raises:
        UndecodableError: The file has another format or more than one frame, is damaged, truncated or too large, or has
            values other than unsigned 8 or 16 bits.
    """
    _check_whole(content)
    file = _File(content)
    file.check()
    picture = file.picture()
    turn = _TURNS.get(file.header.orientation)
    if turn is None:
        return picture
    alpha = None if picture.alpha is None else np.ascontiguousarray(turn(picture.alpha))
    return Picture(np.ascontiguousarray(turn(picture.pixels)), alpha, picture.palette)


def upright_size(content: bytes) -> tuple[int, int]:
    """Return (height, width) of the result of :func:`decode`, from the file's header.

    Raises:
        UndecodableError: The file has an unsupported format or a damaged header, or is too large.
    """
    header = _File(content).header
    width, height = header.width, header.height
    return (width, height) if header.orientation in (5, 6, 7, 8) else (height, width)


def file_kind(content: bytes) -> str:
    """Return the format of an image file by its content: ``'JPEG'``, ``'PNG'``, ``'WEBP'``, ``'TIFF'`` and so on.

    Raises:
        UndecodableError: :func:`decode` does not support the format.
    """
    return _kind(content)


class _File:
    """Image file with a parsed header and a size within the limits."""

    def __init__(self, content: bytes) -> None:
        self.kind = kind = _kind(content)
        self.content = content
        self.tags: Directory | None = None
        self.image: Any = None
        if kind == "TIFF":
            self.tags = Directory(content)
            self.header = Header(*self.tags.size, self.tags.pages, self.tags.orientation())
        elif kind in HEADERS:
            self.header = HEADERS[kind](content)
        else:
            if kind == "GIF":  # Pillow allocates the canvas when it opens the file
                check_size(int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little"))
            self.image = _open(content, kind)
            self.header = _guard(kind, lambda: _header(self.image, content))
        check_size(self.header.width, self.header.height)

    def check(self) -> None:
        """Raise an error if the file is truncated, has several frames, or is too expensive to decode."""
        if self.tags:
            self.tags.check()
        if self.kind == "PNG" and self._png_rows() > _DEFLATE * len(self.content):
            raise UndecodableError(f"is a truncated PNG file: {_AGAIN}")
        if self.kind == "BMP" and self.image.info.get("compression") in (1, 2):
            pixels = self.header.width * self.header.height
            if pixels > _MOST_RUN_LENGTH_PIXELS:
                raise UndecodableError(f"is a compressed BMP file of {pixels:,} pixels: convert it to PNG")
        if (frames := self.header.frames) != 1:
            raise UndecodableError(f"holds {frames} frames or pages: extract the one you mean to a file of its own")

    def picture(self) -> Picture:
        """Decode the pixels without applying the orientation."""
        if self.tags is None:
            by_opencv = self.image is None or (self.kind == "PNG" and self.image.mode not in ("P", "1"))
            return _by_opencv(self.content, self.kind) if by_opencv else _by_pillow(self.image, self.kind)
        content = self.tags.cleaned()
        layout = self.tags.value(BITS), self.tags.value(PHOTOMETRIC)
        if layout in ((16, BLACK_IS_ZERO), (16, RGB)) and self.tags.value(SAMPLES) > 1:
            return _by_opencv(content, self.kind)
        picture = _by_pillow(_open(content, self.kind), self.kind)
        if picture.pixels.dtype == np.uint16 and layout[1] == WHITE_IS_ZERO:
            return Picture(65535 - picture.pixels)  # Pillow inverts only 8-bit values
        return picture

    def _png_rows(self) -> int:
        """Return the uncompressed size of the rows of a PNG file in bytes."""
        bits = self.content[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(self.content[25], 1)
        return self.header.width * self.header.height * bits // 8


def _check_whole(content: bytes) -> None:
    kind = _kind(content)
    if kind in IS_WHOLE and not IS_WHOLE[kind](content):
        raise UndecodableError(f"is a truncated {kind} file: {_AGAIN}")


def _kind(content: bytes) -> str:
    if not content:
        raise UndecodableError("is empty (0 bytes): restore or remove it")
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature) and (kind != "WEBP" or content[8:12] == b"WEBP"):
            return kind
    head = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    size = f"({len(content):,} bytes) is no image"
    for meaning, beginnings in _TEXT.items():
        if head.startswith(beginnings):
            raise UndecodableError(f"{size} but {meaning}")
    if not head.translate(None, bytes(range(32, 127)) + b"\t\r\n"):
        raise UndecodableError(f"{size} but text, beginning {head[:24].decode()!r}: download the file again")
    raise UndecodableError(
        f"{size} that samplug reads (JPEG, PNG, TIFF, WEBP, BMP, GIF); it begins {content[:8].hex(' ')}: convert it "
        "to PNG"
    )


def _guard(kind: str, call: Callable[[], Any]) -> Any:
    """Return ``call()``; turn any exception (decoders raise nearly all kinds on damaged bytes) into one error."""
    try:
        return call()
    except (SyntaxError, IndexError, TypeError, struct.error) as error:  # UnidentifiedImageError of Pillow
        raise UndecodableError(
            f"is a {kind} file that is damaged, truncated or of a rare variant: {_AGAIN}, or convert it to PNG"
        ) from error
    except Exception as error:
        raise UndecodableError(
            f"is a {kind} file that cannot be decoded, damaged or truncated ({str(error)[:200]}): {_AGAIN}"
        ) from error


def _open(content: bytes, kind: str) -> Any:
    """Open a file with Pillow, without Pillow's pixel limit: samplug has its own limit."""
    from PIL import Image

    Image.preinit()
    if kind not in Image.OPEN:
        Image.init()
    return _guard(kind, lambda: Image.OPEN[kind][0](io.BytesIO(content), ""))


def _header(image: Any, content: bytes) -> Header:
    """Read the header of an opened PNG, BMP or GIF file."""
    width, height = image.size
    if image.format == "PNG":
        if content[16:24] != width.to_bytes(4) + height.to_bytes(4):  # OpenCV uses the first of several headers
            raise ValueError("it has two headers")
        return Header(width, height, getattr(image, "n_frames", 1), _png_orientation(image.info, content))
    return Header(width, height, gif_frames(content) if image.format == "GIF" else 1)


def _png_orientation(metadata: dict[Any, Any], content: bytes) -> int | None:
    """Return the orientation from EXIF, or else from the text chunks before the pixels."""
    exif = png_exif(content)
    if not exif and (text := metadata.get("Raw profile type exif")):  # of ImageMagick
        try:
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            exif = b""
    found = exif_orientation(exif)
    xmp = str(metadata.get("XML:com.adobe.xmp", "")).encode(errors="replace")
    return xmp_orientation(xmp) if found is None else found


def _by_opencv(content: bytes, kind: str) -> Picture:
    pixels = _guard(kind, lambda: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise UndecodableError(f"is a {kind} file that cannot be decoded, damaged or truncated: {_AGAIN}")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return Picture(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), pixels[..., 3])
    return Picture(pixels)


def _by_pillow(image: Any, kind: str) -> Picture:
    _guard(kind, image.load)
    if image.mode in ("P", "PA"):
        palette = np.zeros((256, 3), np.uint8)
        colours = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        palette[: len(colours)] = colours
        return Picture(np.asarray(image.getchannel(0)), palette=palette)
    if image.mode == "L" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        return Picture(values.astype(np.uint8 if values.itemsize == 1 else np.uint16, copy=False))
    if image.mode == "1":
        return Picture(np.asarray(image.convert("L")))
    if image.mode in ("LA", "La"):
        grey, alpha = image.convert("LA").split()
        return Picture(np.asarray(grey), np.asarray(alpha))
    if image.mode in ("RGBA", "RGBa"):
        pixels = np.asarray(image.convert("RGBA"))
        return Picture(cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGR), pixels[..., 3])
    return Picture(cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR))


# Operation for each EXIF orientation; 1 and unknown ones need none.
_TURNS: dict[Any, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
