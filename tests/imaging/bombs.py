"""Small files that make careless readers take much memory or time."""

import io
import struct
import zlib
from functools import cache

from PIL import Image

SIDE = 13000  # within the limit on pixels


def png(width, height, depth=8, colour=0, rows=b"", extra=()):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(tags, tail=bytes(4096), following=0):
    """A little-endian TIFF file with (tag, type, count, value)s in the order of tags."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", following) + tail


def grey_tags(width=16, height=16, **changes):
    tags = dict(width=(256, 4, 1, width), height=(257, 4, 1, height), bits=(258, 3, 1, 8), compression=(259, 3, 1, 1))
    tags |= dict(photometric=(262, 3, 1, 1), offsets=(273, 4, 1, 8), samples=(277, 3, 1, 1), rows=(278, 4, 1, height))
    return list({**tags, "counts": (279, 4, 1, 256), **changes}.values())


def overlapping_tags(number, size):
    """EXIF data whose tags share the same bytes as values."""
    entries = b"".join(struct.pack("<HHII", 1000 + i, 1, size, 8) for i in range(number))
    return (struct.pack("<2sHIH", b"II", 42, 8, number) + entries).ljust(size + 8, b"\0")


def jpeg(segments=b"", side=16, **options):
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "JPEG", **options)
    content = stream.getvalue().replace(struct.pack(">HH", 16, 16), struct.pack(">HH", side, side))
    return content[:2] + segments + content[2:]


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def bmp_runs(width, height, data):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078) + head + bytes(1024) + data


def gif(width, height, frames=1, place=0):
    frame = b"\x2c" + struct.pack("<HHHHB", place, place, width, height, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + frame * frames + b"\x3b"


@cache
def files():
    """Return name -> content and expected message ('read' for a valid image)."""
    number, parts = 17_000, 2**20 + 1
    text = zlib.compress(bytes(20_000_000), 9)
    exif = overlapping_tags(60_000, 2_000_000)
    exif_segments = b"".join(segment(0xE1, b"Exif\0\0" + exif[at : at + 65_000]) for at in range(0, len(exif), 65_000))
    pages = b"".join(struct.pack("<HI", 0, 134 + 6 * (page + 1)) for page in range(200_000))
    progressive = jpeg(progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16382).to_bytes(3, "little") * 2
    raw_profile = b"Raw profile type exif\0\0" + zlib.compress(
        b"\n\n\n" + overlapping_tags(30_000, 450_000).hex().encode()
    )
    tile = [tag for tag in grey_tags(compression=(259, 3, 1, 5)) if tag[0] not in (273, 278, 279)]
    tile += [(322, 4, 1, 2**19), (323, 4, 1, 2**19), (324, 4, 1, 300), (325, 4, 1, 100)]
    return {
        "tiff_values_of_tags": (tiff(grey_tags() + [(1000 + i, 4, 50_000, 8) for i in range(number)]), "read"),
        "tiff_one_tag_often": (tiff(grey_tags() + [(330, 4, 50_000, 8)] * number), "read"),
        "tiff_needed_tags_overlap": (
            tiff(grey_tags() + [(tag, 1, 90_000, 8) for tag in range(512, 522)], bytes(90_000)), "tags overlap",
        ),
        "tiff_pages": (tiff(grey_tags(), bytes(12) + pages, following=134), "holds 1000 frames"),
        "tiff_size": (tiff(grey_tags(60_000, 60_000)), "too large"),
        "tiff_parts": (
            tiff(grey_tags(1, 2**20, offsets=(273, 4, parts, 200), counts=(279, 3, parts, 2**23)), bytes(2**24)),
            "1,048,577 parts",
        ),
        "tiff_tile": (tiff(tile), "too large"),
        "tiff_channels": (tiff(grey_tags(9999, 9999, samples=(277, 3, 1, 60_000))), "60000 channels"),
        "png_size": (png(100_000, 100_000), "too large"),
        "png_without_pixels": (png(SIDE, SIDE, 16, 6), "truncated PNG"),
        "png_two_headers": (
            png(30_000, 30_000, rows=bytes(9_000_000), extra=[(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))]),
            "two headers",
        ),
        "png_chunk": (
            png(4, 4, rows=bytes(20)).replace(b"\0\0\0\x0bIDAT", b"\x7f\xff\xff\xf0IDAT"), "truncated PNG",
        ),
        "png_text": (png(4, 4, rows=bytes(20), extra=[(b"zTXt", b"a\0\0" + text)] * 9), "too large"),
        "png_profile": (png(4, 4, rows=bytes(20), extra=[(b"iCCP", b"a\0\0" + text)]), "too large"),
        "png_exif": (png(4, 4, rows=bytes(20), extra=[(b"eXIf", overlapping_tags(30_000, 400_000))]), "read"),
        "png_raw_profile": (png(4, 4, rows=bytes(20), extra=[(b"zTXt", raw_profile)]), "read"),
        "jpeg_exif": (jpeg(exif_segments), "read"),
        "jpeg_mpf": (jpeg(segment(0xE2, b"MPF\0" + overlapping_tags(5000, 60_000))), "read"),
        "jpeg_size": (jpeg(side=65_000), "truncated JPEG"),
        "jpeg_size_padded": (jpeg(side=65_000) + bytes(9_000_000), "too large"),
        "jpeg_without_pixels": (jpeg(side=SIDE), "truncated JPEG"),
        "jpeg_scans": (progressive[:-2] + scan * 200 + progressive[-2:], "over 100 scans"),
        "webp_canvas": (b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas, "too large"),
        "gif_size": (gif(65_000, 65_000), "too large"),
        "gif_place": (gif(4, 4, place=65_000), "cannot be decoded"),
        "gif_frames": (gif(4, 4, frames=300_000), "holds 1000 frames"),
        "bmp_runs": (bmp_runs(SIDE, SIDE, b"\1\0\0\0" * SIDE), "compressed BMP"),
        "bmp_runs_wide": (bmp_runs(170_000_000, 1, b"\0\2\0\xff" * 10), "too large"),
        "bmp_without_pixels": (bmp_runs(SIDE, SIDE, b"").replace(b"\x08\0\1\0\0\0", b"\x08\0\0\0\0\0"), "truncated"),
        "icon": (b"\0\0\1\0\1\0" + bytes(16), "no image that samplug reads"),
        "jpeg_2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "no image that samplug reads"),
    }  # fmt: skip
