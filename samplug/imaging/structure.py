"""Read headers of JPEG and WEBP, orientation of PNG and frames of GIF, and detect truncated files.

Pillow reads all metadata when it opens a file, so a crafted file can fill the memory. JPEG and WEBP are decoded by
OpenCV, so Pillow need not open them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from samplug.imaging.limits import UndecodableError
from samplug.imaging.tiff_tags import exif_orientation, xmp_orientation

_AGAIN = "download or copy it again"
# A marker, except stuffed bytes, restart markers and fill bytes within a scan.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
_START_OF_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN = frozenset(range(0xC0, 0xC8))
_PIXELS_PER_BYTE = 8 * 64  # upper limit: each block of 8 x 8 pixels takes at least one bit in Huffman coding
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Each scan of a progressive JPEG covers the whole image. Encoders write about ten.
_MOST_SCANS = 100
_MOST_FRAMES = 1000
_MOST_CHUNKS = 100_000


@dataclass(frozen=True)
class Header:
    """Header of an image file.

    Attributes:
        width: Width as stored, in pixels.
        height: Height as stored, in pixels.
        frames: Number of frames.
        orientation: Orientation of EXIF or XMP, 1..8; None without it.
    """

    width: int
    height: int
    frames: int = 1
    orientation: int | None = None


def jpeg_header(content: bytes) -> Header:
    """Read the header of a JPEG file; embedded previews, depth maps and gain maps do not count.

    Raises:
        UndecodableError: The file has no size, too many scans, or too few bytes for its size.
    """
    size: tuple[int, int] | None = None
    scans, exif, xmp = 0, [], b""
    for marker, start, end in _segments(content):
        data = content[start:end] if marker in _FRAMES or marker == _APP1 else b""
        if marker in _FRAMES and size is None and len(data) >= 5:
            size = int.from_bytes(data[3:5]), int.from_bytes(data[1:3])
            if marker in _HUFFMAN and size[0] * size[1] > _PIXELS_PER_BYTE * len(content):
                raise UndecodableError(f"is a truncated JPEG file: {_AGAIN}")
        elif marker == _START_OF_SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                raise UndecodableError(f"is a JPEG file of over {_MOST_SCANS} scans: save it again, or as PNG")
        elif scans == 0 and data.startswith(b"Exif\0\0"):
            exif.append(data[6:])
        elif scans == 0 and data.startswith(_XMP):
            xmp = data
    if size is None:
        raise UndecodableError(f"is a JPEG file that cannot be decoded, damaged or truncated: {_AGAIN}")
    return Header(*size, orientation=_orientation(b"".join(exif), xmp))


def webp_header(content: bytes) -> Header:
    """Read the header of a WEBP file.

    Raises:
        UndecodableError: The file has no size.
    """
    size: tuple[int, int] | None = None
    found: dict[bytes, bytes] = {}
    frames = 0
    for number, (name, data) in enumerate(_chunks(content)):
        if number == 0:
            size = _webp_size(name, data)
        if frames == _MOST_FRAMES or number == _MOST_CHUNKS:
            break
        frames += name == b"ANMF"
        found.setdefault(name, data)
    if size is None:
        raise UndecodableError(f"is a WEBP file that cannot be decoded, damaged or truncated: {_AGAIN}")
    return Header(*size, frames or 1, _orientation(found.get(b"EXIF", b""), found.get(b"XMP ", b"")))


def png_exif(content: bytes) -> bytes:
    """Return the EXIF data of a PNG file, which may follow the pixels; empty without EXIF data."""
    if b"eXIf" in content:
        for name, start, end in _png_chunks(content):
            if name == b"eXIf":
                return content[start:end]
    return b""


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the complete chunks of a PNG file."""
    at = 8
    while (end := at + 12 + int.from_bytes(content[at : at + 4])) <= len(content):
        yield content[at + 4 : at + 8], at + 8, end - 4
        at = end


def _png_is_whole(content: bytes) -> bool:
    """Return True if no chunk claims to extend beyond the file: OpenCV allocates memory for the claimed length."""
    return any(name == b"IEND" for name, _, _ in _png_chunks(content))


def gif_frames(content: bytes) -> int:
    """Count the frames of a GIF file, up to a thousand."""
    at, frames = 13 + _gif_colours(content, 10), 0
    while at < len(content) and frames < _MOST_FRAMES:
        if content[at] == 0x2C:  # a frame: place, colours, then its code
            frames += 1
            at = _after_blocks(content, at + 11 + _gif_colours(content, at + 9))
        elif content[at] == 0x21:  # an extension
            at = _after_blocks(content, at + 2)
        else:
            break
    return max(frames, 1)


def _gif_colours(content: bytes, at: int) -> int:
    """Return the length of the colour table that the flags at a position announce."""
    flags = content[at] if at < len(content) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(content: bytes, at: int) -> int:
    """Return the position after a sequence of length-prefixed blocks, which ends with an empty block."""
    while at < len(content) and content[at]:
        at += 1 + content[at]
    return at + 1


def _webp_size(name: bytes, data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from the first chunk: the start of the pixels, or an extended header."""
    if name == b"VP8X" and len(data) >= 10:
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if name == b"VP8L" and len(data) >= 5:
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 " and len(data) >= 10:
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    return None


def _orientation(exif: bytes, xmp: bytes) -> int | None:
    found = exif_orientation(exif)
    return xmp_orientation(xmp) if found is None else found


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments of a JPEG file up to its end marker."""
    at = 2
    while found := _MARKER.search(content, at):
        marker, at = found[1][0], found.end()
        if marker == _END:
            return
        start, at = at + 2, at + max(2, int.from_bytes(content[at : at + 2]))
        yield marker, start, at


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the chunks of a WEBP file; for chunks of pixels, only the start of the content."""
    at = 12
    while at + 8 <= len(content):
        name, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        whole = name in (b"EXIF", b"XMP ")
        yield name, content[at + 8 : at + 8 + (length if whole else min(length, 16))]
        at += 8 + length + length % 2


def _jpeg_is_whole(content: bytes) -> bool:
    """Return True if an end marker follows the pixels; previews before and bytes after it do not count."""
    for marker, start, _ in _segments(content):
        if marker == _START_OF_SCAN:
            return content.find(b"\xff\xd9", start) >= 0
    return False


HEADERS: dict[str, Callable[[bytes], Header]] = {"JPEG": jpeg_header, "WEBP": webp_header}
"""Format -> function that reads its header."""

IS_WHOLE: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg_is_whole,
    "PNG": _png_is_whole,
    "WEBP": lambda content: len(content) >= 8 + int.from_bytes(content[4:8], "little"),
}
"""Format -> function that returns False for a truncated file."""
