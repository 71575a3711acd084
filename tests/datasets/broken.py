"""A small sound set, and bytes that are no picture or not the one that was meant."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

SHAPE = (36, 48)
NAMES = [f"p{index}" for index in range(8)]
# The pair that is broken.
VICTIM = "p3"


def picture(index: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB noise, which no codec makes small."""
    return np.random.default_rng(index).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)


def mask(index: int = 0) -> np.ndarray:
    """(H, W) uint8 of 0 and 255: a box of its own size."""
    values = np.zeros(SHAPE, np.uint8)
    values[5 : 15 + index, 8:30] = 255
    return values


def sound_set(root: Path) -> Path:
    """Write ``images/p0.jpg .. p7.jpg`` and ``masks/p0.png .. p7.png``."""
    for index, name in enumerate(NAMES):
        save(root / "images" / f"{name}.jpg", picture(index))
        save(root / "masks" / f"{name}.png", mask(index))
    return root


def save(path: Path, values: np.ndarray | Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)


def encode(kind: str, values: np.ndarray | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture() if values is None else values).save(buffer, kind, **options)
    return buffer.getvalue()


def cut(kind: str, share: float, **options) -> bytes:
    content = encode(kind, **options)
    return content[: int(len(content) * share)]


def frames(kind: str) -> bytes:
    return encode(kind, save_all=True, append_images=[Image.fromarray(picture(index)) for index in (1, 2)])


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A grey PNG that claims a size, whatever its pixels are; its checksums are right."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def garbled(content: bytes) -> bytes:
    """Of the right length, with a hole in the middle, as after a bad copy."""
    middle = len(content) // 2
    return content[: middle - 40] + bytes(80) + content[middle + 40 :]


def patched(content: bytes, at: int, layout: str, *values: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(layout, changed, at, *values)
    return bytes(changed)


def signed_tiff() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[339] = 2
    return encode("TIFF", mask().astype(np.uint16), tiffinfo=tags)


@dataclass(frozen=True)
class Content:
    """Bytes that cannot be used.

    Attributes:
        suffix: What the file is called.
        content: What is in it.
        says: What the message must match: what was found, then what to do.
    """

    suffix: str
    content: bytes
    says: str


_AGAIN = r"(truncated|damaged).*download or copy it again"
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
_BMP = encode("BMP")
_GIF = encode("GIF")

CONTENTS = {
    "empty": Content(".jpg", b"", r"empty \(0 bytes\).*remove"),
    "zeros": Content(".png", bytes(2000), "no image.*(convert|download)"),
    "jpeg-20-bytes": Content(".jpg", encode("JPEG")[:20], _AGAIN),
    "jpeg-tenth": Content(".jpg", cut("JPEG", 0.1), _AGAIN),
    "jpeg-half": Content(".jpg", cut("JPEG", 0.5), _AGAIN),
    "jpeg-no-end": Content(".jpg", encode("JPEG")[:-2], _AGAIN),
    "jpeg-zero-tail": Content(".jpg", cut("JPEG", 0.6) + bytes(2000), _AGAIN),
    "jpeg-half-with-end": Content(".jpg", cut("JPEG", 0.5) + b"\xff\xd9", _AGAIN),
    "jpeg-progressive-half": Content(".jpg", cut("JPEG", 0.5, progressive=True), _AGAIN),
    "png-signature": Content(".png", encode("PNG")[:8], _AGAIN),
    "png-30-bytes": Content(".png", encode("PNG")[:30], _AGAIN),
    "png-half": Content(".png", cut("PNG", 0.5), _AGAIN),
    "png-no-end": Content(".png", encode("PNG")[:-12], _AGAIN),
    "png-garbled": Content(".png", garbled(encode("PNG")), _AGAIN),
    "png-missing-rows": Content(".png", png(48, 36, bytes(49 * 20)), _AGAIN),
    "tiff-half": Content(".tif", cut("TIFF", 0.5), _AGAIN),
    "tiff-lzw-most": Content(".tif", cut("TIFF", 0.9, compression="tiff_lzw"), _AGAIN),
    "tiff-20-bytes": Content(".tif", encode("TIFF")[:20], _AGAIN),
    "tiff-deflate-garbled": Content(".tif", garbled(encode("TIFF", compression="tiff_deflate")), _AGAIN),
    "webp-half": Content(".webp", cut("WEBP", 0.5), _AGAIN),
    "webp-lossless-most": Content(".webp", cut("WEBP", 0.9, lossless=True), _AGAIN),
    "bmp-half": Content(".bmp", cut("BMP", 0.5), _AGAIN),
    "bmp-header": Content(".bmp", _BMP[:30], _AGAIN),
    "gif-half": Content(".gif", cut("GIF", 0.5), _AGAIN),
    "text": Content(".jpg", b"file not found\n", "text, beginning 'file not found.*download"),
    "html": Content(".jpg", b"\n<!DOCTYPE html><title>Quota exceeded</title>", "web page.*download"),
    "json": Content(".png", b'{"error": "quota"}', "text, beginning.*download"),
    "git-lfs": Content(".png", _LFS, "git-lfs pointer.*git lfs pull"),
    "pdf": Content(".jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(500), "no image.*convert it to PNG"),
    "video": Content(".jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(500), "no image.*convert it to PNG"),
    "zip": Content(".png", b"PK\x03\x04" + bytes(500), "no image.*convert it to PNG"),
    "heic": Content(".jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), "no image.*convert it to PNG"),
    "animated-gif": Content(".gif", frames("GIF"), "3 frames.*extract"),
    "animated-webp": Content(".webp", frames("WEBP"), "3 frames.*extract"),
    "animated-png": Content(".png", frames("PNG"), "3 frames.*extract"),
    "pages-tiff": Content(".tif", frames("TIFF"), "3 frames or pages.*extract"),
    "float-tiff": Content(".tif", encode("TIFF", mask() / np.float32(255)), "32-bit float.*convert.*8 or 16 bits"),
    "int32-tiff": Content(".tif", encode("TIFF", mask().astype(np.int32)), "32-bit signed.*convert.*8 or 16 bits"),
    "signed-tiff": Content(".tif", signed_tiff(), "16-bit signed.*convert"),
    "absurd-png": Content(".png", png(100_000, 100_000, bytes(1000)), "too large.*cut it into tiles"),
    "absurd-bmp": Content(".bmp", patched(_BMP, 18, "<ii", 90_000, 90_000), "too large.*cut it into tiles"),
    "absurd-gif": Content(".gif", patched(_GIF, 6, "<HH", 65_000, 65_000), "(too large.*tiles|download)"),
}
