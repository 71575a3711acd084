"""Decode the bytes of an image file to all pixels of its one frame, upright.

Pillow opens every file, which reads only its header. OpenCV decodes JPEG, PNG, WEBP and 16-bit colour TIFF. Pillow
decodes the rest, for which OpenCV gives no palette indices, wrong values (TIFF with alpha or of 1 bit) or nothing.

Truncation is detected in the structure of JPEG, PNG, WEBP and TIFF files. For BMP and GIF Pillow raises the error,
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
_ORIENTATION = 0x0112
# TIFF tags.
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 262, 277, 284, 339
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # of strips, of tiles
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2


class UndecodableError(Exception):
    """Bytes cannot be decoded; the message follows the name of the file ('is empty: ...')."""


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
    kind = _kind(content)
    tags: dict[int, _Tag] = {}
    if kind == "TIFF":
        tags = _tiff_tags(content)
        _check_tiff(content, tags)
    elif kind in _IS_WHOLE and not _IS_WHOLE[kind](content):
        raise UndecodableError(f"is a truncated {kind} file: {_AGAIN}")
    image, content, orientation = _header(content, kind, tags)
    # More images in a JPEG are previews and depth or gain maps of the first one.
    frames = 1 if kind == "JPEG" else _guard(kind, lambda: getattr(image, "n_frames", 1))
    if frames != 1:
        raise UndecodableError(f"holds {frames} frames or pages: extract the one you mean to a file of its own")
    wide_colour = (_value(tags, _BITS), _value(tags, _PHOTOMETRIC)) in ((16, _BLACK_IS_ZERO), (16, _RGB))
    wide_colour &= _value(tags, _SAMPLES) > 1
    if wide_colour or (kind in ("JPEG", "PNG", "WEBP") and image.mode not in ("P", "1")):
        picture = _by_opencv(content, kind)
    else:
        picture = _by_pillow(image, kind)
        if picture.pixels.dtype == np.uint16 and _value(tags, _PHOTOMETRIC) == _WHITE_IS_ZERO:
            picture = Picture(65535 - picture.pixels)  # Pillow inverts 8 bits only
    turn = _TURNS.get(orientation)
    if turn is None:
        return picture
    alpha = None if picture.alpha is None else np.ascontiguousarray(turn(picture.alpha))
    return Picture(np.ascontiguousarray(turn(picture.pixels)), alpha, picture.palette)


def upright_size(content: bytes) -> tuple[int, int]:
    """Return height and width of the picture that :func:`decode` gives, from the file's header.

    Raises:
        UndecodableError: The file has another format or a damaged header.
    """
    kind = _kind(content)
    image, _, orientation = _header(content, kind, _tiff_tags(content) if kind == "TIFF" else {})
    width, height = image.size
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def file_kind(content: bytes) -> str:
    """Return the format of an image file by its content: ``'JPEG'``, ``'PNG'``, ``'WEBP'``, ``'TIFF'`` and so on.

    Raises:
        UndecodableError: It is none that :func:`decode` reads.
    """
    return _kind(content)


def _header(content: bytes, kind: str, tags: dict[int, "_Tag"]) -> tuple[Any, bytes, Any]:
    """Open a file with Pillow without decoding it; return the image, its bytes and the orientation, if any."""
    orientation = tags[_ORIENTATION].values[0] if _ORIENTATION in tags else None
    if tags:
        content = _retag(content, tags)
    image = _open(content, kind)
    return image, content, _exif_orientation(image, content) if orientation is None else orientation


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
    from PIL import Image, UnidentifiedImageError

    try:
        return call()
    except UnidentifiedImageError as error:
        raise UndecodableError(
            f"is a {kind} file that is damaged, truncated or of a rare variant: {_AGAIN}, or convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise UndecodableError(f"is too large ({error}): cut it into tiles") from error
    except Exception as error:
        raise UndecodableError(
            f"is a {kind} file that cannot be decoded, damaged or truncated ({str(error)[:200]}): {_AGAIN}"
        ) from error


def _open(content: bytes, kind: str) -> Any:
    from PIL import Image

    return _guard(kind, lambda: Image.open(io.BytesIO(content), formats=[kind]))


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


def _exif_orientation(image: Any, content: bytes) -> Any:
    from PIL import Image

    # Pillow would decode all pixels of a PNG to look for EXIF after them.
    header_only = image.format == "PNG" and b"eXIf" not in content
    try:
        exif = Image.Image.getexif(image) if header_only else image.getexif()
        return exif.get(_ORIENTATION)
    except Exception:  # damaged metadata in a sound picture
        return None


def _jpeg_is_whole(content: bytes) -> bool:
    """Return True if the end marker comes after the pixels; previews before them and bytes after it do not count."""
    if content.endswith(b"\xff\xd9"):
        return True
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xDA:
            return content.find(b"\xff\xd9", at) >= 0
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4])
    return False


_IS_WHOLE: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg_is_whole,
    "PNG": lambda content: content.rfind(b"IEND\xaeB`\x82") >= 0,
    "WEBP": lambda content: len(content) >= 8 + int.from_bytes(content[4:8], "little"),
}


@dataclass(frozen=True)
class _Tag:
    position: int  # offset of the first value in the file
    layout: str  # format of one value, for struct
    values: tuple[int, ...]


def _tiff_tags(content: bytes) -> dict[int, _Tag]:
    """Read the whole-number tags of a TIFF file's first page."""
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]
    start, number, count, entry = (8, "Q", "Q", 20) if big else (4, "H", "I", 12)
    tags = {}
    try:
        (offset,) = struct.unpack_from(order + ("Q" if big else "I"), content, start)
        (entries,) = struct.unpack_from(order + number, content, offset)
        first = offset + struct.calcsize(order + number)
        for at in range(first, first + entries * entry, entry):
            tag, kind, values = struct.unpack_from(f"{order}HH{count}", content, at)
            if kind not in (3, 4, 16):
                continue
            layout = {3: "H", 4: "I", 16: "Q"}[kind]
            room = struct.calcsize(order + count)
            position = at + 4 + room
            if values * struct.calcsize(order + layout) > room:
                (position,) = struct.unpack_from(order + count, content, position)
            tags[tag] = _Tag(
                position, order + layout, struct.unpack_from(f"{order}{values}{layout}", content, position)
            )
    except (struct.error, OverflowError) as error:
        raise UndecodableError(f"is a truncated TIFF file: {_AGAIN}") from error
    return {tag: found for tag, found in tags.items() if found.values}


def _value(tags: dict[int, _Tag], tag: int) -> int:
    return max(tags[tag].values) if tag in tags else 1  # TIFF's default, for the tags asked for here


def _check_tiff(content: bytes, tags: dict[int, _Tag]) -> None:
    for offsets, counts in _OFFSETS_AND_COUNTS:
        if offsets in tags and counts in tags:
            ends = map(sum, zip(tags[offsets].values, tags[counts].values, strict=False))
            if max(ends) > len(content):
                raise UndecodableError(f"is a truncated TIFF file: {_AGAIN}")
    bits, values = _value(tags, _BITS), _value(tags, _SAMPLE_FORMAT)
    if values in (2, 3) or bits not in (1, 2, 4, 8, 16):
        name = {2: "signed", 3: "float"}.get(values, "unsigned")
        raise UndecodableError(f"holds {bits}-bit {name} values: convert it to unsigned 8 or 16 bits")
    if bits == 16 and _value(tags, _SAMPLES) > 1 and _value(tags, _PLANAR) == 2:
        raise UndecodableError(
            "holds 16-bit colours in separate planes: convert it to interleaved colours or to 8 bits"
        )


def _retag(content: bytes, tags: dict[int, _Tag]) -> bytes:
    """Change a TIFF file's tags so that both decoders read it alike: no rotation, and colours tagged as RGB.

    Some programs tag RGB pixels as grey (BlackIsZero); Pillow refuses such files, and OpenCV reads only one channel.
    """
    changes = {_ORIENTATION: 1}
    if _value(tags, _SAMPLES) >= 3 and _PHOTOMETRIC in tags and _value(tags, _PHOTOMETRIC) == _BLACK_IS_ZERO:
        changes[_PHOTOMETRIC] = _RGB
    changed = bytearray(content)
    for tag, value in changes.items():
        if tag in tags:
            struct.pack_into(tags[tag].layout, changed, tags[tag].position, value)
    return bytes(changed)
