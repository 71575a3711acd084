"""Reading of image and mask files: right values, or an error that says what to do."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from samplug.imaging.files import read_image, read_mask
from samplug.utils.errors import DataError
from samplug.utils.files import replace_file

HEIGHT, WIDTH = 24, 36
LOSSLESS = {"WEBP": dict(lossless=True, exact=True)}


@pytest.fixture
def rgb():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def write(tmp_path):
    """Write bytes, a Pillow image (format, options) or an array (by OpenCV, for 16 bits) and return the path."""

    def write(what, kind="PNG", name="file.png", **options):
        path = tmp_path / name
        if isinstance(what, np.ndarray):
            what = cv2.imencode(f".{kind.lower()}", what)[1].tobytes()
        path.write_bytes(what if isinstance(what, bytes) else encode(what, kind, **options))
        return path

    return write


def encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **{**LOSSLESS.get(kind, {}), **options})
    return stream.getvalue()


def retag(content, tag, value):
    """Set a SHORT tag of a little-endian TIFF file."""
    (offset,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, offset)
    changed = bytearray(content)
    for at in range(offset + 2, offset + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, at)[0] == tag:
            struct.pack_into("<H", changed, at + 8, value)
            return bytes(changed)
    raise KeyError(tag)


def with_alpha(rgb):
    alpha = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    return np.dstack([rgb, alpha])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_lossless_colours_under_any_suffix(rgb, write, kind):
    np.testing.assert_array_equal(read_image(write(Image.fromarray(rgb), kind, "a.jpg")), rgb[..., ::-1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_and_not_blended(rgb, write, kind):
    path = write(Image.fromarray(with_alpha(rgb)), kind)
    np.testing.assert_array_equal(read_image(path), rgb[..., ::-1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(rgb, write, kind):
    grey, alpha = Image.fromarray(rgb[..., 0]), Image.fromarray(with_alpha(rgb)[..., 3])
    path = write(Image.merge("LA", (grey, alpha)), kind)
    np.testing.assert_array_equal(read_image(path), np.dstack([rgb[..., 0]] * 3))
    np.testing.assert_array_equal(read_mask(path), rgb[..., 0])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_palette(rgb, write, kind):
    image = Image.fromarray(rgb).quantize(7)
    np.testing.assert_array_equal(read_image(write(image, kind, "a.jpg")), np.asarray(image.convert("RGB"))[..., ::-1])


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_and_rounded(write, kind, channels):
    values = np.linspace(0, 65535, HEIGHT * WIDTH * channels).astype(np.uint16).reshape(HEIGHT, WIDTH, channels)
    image = read_image(write(values, kind))
    wanted = np.round(values / 257).astype(np.uint8)[..., :3]
    np.testing.assert_array_equal(image, np.broadcast_to(wanted, image.shape))
    assert image.max() == (255 if channels < 4 else wanted.max())


def test_sixteen_bit_white_is_zero(write):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 70
    path = write(retag(cv2.imencode(".tiff", values)[1].tobytes(), 262, 0))
    np.testing.assert_array_equal(read_mask(path), 65535 - values)


def test_jpeg_colours(rgb, write):
    content = encode(Image.fromarray(rgb), "JPEG", quality=95)
    wanted = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_allclose(read_image(write(content)).astype(int)[..., ::-1], wanted, atol=1)


def test_cmyk_jpeg(write):
    path = write(Image.new("CMYK", (WIDTH, HEIGHT), (0, 200, 255, 40)), "JPEG", quality=100, subsampling=0)
    np.testing.assert_allclose(read_image(path)[5, 5], [0, 46, 215], atol=3)


def test_ycck_jpeg(write):
    image = Image.new("CMYK", (WIDTH, HEIGHT), (0, 200, 255, 40))  # Pillow stores 255, 55, 0, 215 and Adobe's marker
    content = bytearray(encode(image, "JPEG", quality=100, subsampling=0))
    content[content.index(b"Adobe") + 11] = 2
    # Y, Cb, Cr = 255, 55, 0 is (76, 255, 126): inks of an inverted file, on paper (179, 0, 129) under black of 215 / 255.
    np.testing.assert_allclose(read_image(write(bytes(content)))[5, 5], np.array([129, 0, 179]) * 215 / 255, atol=3)


def test_rgb_tiff_tagged_as_grey(rgb, write):
    content = retag(cv2.imencode(".tiff", rgb[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes(), 262, 1)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(read_image(write(content)), rgb[..., ::-1])


def test_real_tiff_tagged_as_grey(test_data):
    image = read_image(test_data / "data/cvc_clinicdb/CVC-ClinicDB/Original/1.tif").astype(int)
    assert (image[..., 2] - image[..., 0]).mean() > 20  # colonoscopy is red


EXIF_TURNS = [
    (1, lambda a: a),
    (2, np.fliplr),
    (3, lambda a: np.rot90(a, 2)),
    (4, np.flipud),
    (5, lambda a: np.swapaxes(a, 0, 1)),
    (6, lambda a: np.rot90(a, 3)),
    (7, lambda a: np.rot90(np.swapaxes(a, 0, 1), 2)),
    (8, lambda a: np.rot90(a, 1)),
]


@pytest.mark.parametrize(("orientation", "turn"), EXIF_TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(rgb, write, kind, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = dict(quality=100, subsampling=0) if kind == "JPEG" else {}
    image = read_image(write(Image.fromarray(rgb), kind, exif=exif, **options)).astype(int)
    np.testing.assert_allclose(image, turn(rgb[..., ::-1]), atol=4 if kind == "JPEG" else 0)
    mask = read_mask(write(Image.fromarray(rgb[..., 0]), kind, exif=exif, **options)).astype(int)
    np.testing.assert_allclose(mask, turn(rgb[..., 0]), atol=4 if kind == "JPEG" else 0)


@pytest.mark.parametrize(("orientation", "turn"), EXIF_TURNS)
def test_both_decoders_turn_alike(rgb, write, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    indices = Image.fromarray(rgb).quantize(7)
    np.testing.assert_array_equal(read_mask(write(indices, exif=exif)), turn(np.asarray(indices)))
    content = encode(Image.fromarray(rgb), "TIFF", exif=exif)
    sixteen = cv2.imencode(".tiff", rgb[..., ::-1].astype(np.uint16) * 257)[1].tobytes()  # by OpenCV
    turned = read_image(write(add_orientation(sixteen, orientation)))
    np.testing.assert_array_equal(turned, read_image(write(content)))


def add_orientation(content, orientation):
    """A little-endian TIFF file with one more tag: its list of tags is moved to the end."""
    (offset,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, offset)
    entries = [content[at : at + 12] for at in range(offset + 2, offset + 2 + 12 * count, 12)]
    entries = [entry for entry in entries if entry[:2] != struct.pack("<H", 274)]
    entries = sorted(
        [*entries, struct.pack("<HHIHH", 274, 3, 1, orientation, 0)], key=lambda e: struct.unpack("<H", e[:2])
    )
    tags = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    return content[:4] + struct.pack("<I", len(content)) + content[8:] + tags


def test_exif_behind_the_pixels_of_a_png(rgb, write):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.fromarray(rgb), "PNG", exif=exif)
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    moved = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    np.testing.assert_array_equal(read_image(write(moved)), np.rot90(rgb[..., ::-1], 3))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", dict(progressive=True)),
        ("JPEG", "CMYK", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", dict(compression="tiff_lzw")),
        ("WEBP", "RGB", {}),
        ("BMP", "RGB", {}),
        ("GIF", "P", {}),
    ],
)
def test_truncated_files(rgb, write, kind, mode, options):
    whole = encode(Image.fromarray(rgb).convert(mode), kind, **options)
    read_image(write(whole))
    size = len(whole)
    for kept in (size - 3, size - 12, size - 40, size * 9 // 10, size // 2, size // 4, 30, 9):
        with pytest.raises(DataError, match=r"file\.png .*(truncated|no image)"):
            read_image(write(whole[:kept]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_truncation_is_seen_where_pillow_is_told_to_accept_it(rgb, write, monkeypatch, kind):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as some libraries do
    whole = encode(Image.fromarray(rgb), kind)
    read_image(write(whole))
    for kept in (len(whole) - 3, len(whole) // 2):
        with pytest.raises(DataError, match="truncated"):
            read_image(write(whole[:kept]))


def test_truncated_sixteen_bit_files(write):
    values = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
    for kind in ("png", "tiff"):
        whole = cv2.imencode(f".{kind}", values)[1].tobytes()
        for kept in (len(whole) - 3, len(whole) // 2):
            with pytest.raises(DataError, match="truncated"):
                read_image(write(whole[:kept]))


def test_truncated_jpegs_in_disguise(rgb, write):
    whole = encode(Image.fromarray(rgb), "JPEG")
    preview = encode(Image.fromarray(rgb).resize((8, 8)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview  # with an end marker of its own
    with_preview = whole[:2] + segment + whole[2:]
    wanted = read_image(write(whole))
    np.testing.assert_array_equal(read_image(write(with_preview)), wanted)
    for trailer in (b"\0" * 50, b"SEFT\xff\xda trailer"):
        np.testing.assert_array_equal(read_image(write(with_preview + trailer)), wanted)
        with pytest.raises(DataError, match="truncated JPEG"):
            read_image(write(with_preview[: -len(whole) // 4] + trailer))
    with pytest.raises(DataError, match="truncated JPEG"):
        read_image(write(with_preview[: -len(whole) // 4]))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_more_than_one_frame(rgb, write, kind):
    frames = [Image.fromarray(np.roll(rgb, shift, 1)) for shift in range(3)]
    with pytest.raises(DataError, match=r"file\.png holds 3 frames or pages: extract"):
        read_image(write(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_previews_in_a_jpeg_are_no_frames(rgb, write):
    frames = [Image.fromarray(rgb), Image.fromarray(rgb[::-1])]
    content = encode(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=100, subsampling=0)
    np.testing.assert_allclose(read_image(write(content)).astype(int), rgb[..., ::-1], atol=4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (Image.fromarray(np.ones((4, 4), np.float32)), "32-bit float"),
        (Image.fromarray(np.ones((4, 4), np.int32)), "32-bit signed"),
    ],
)
def test_values_that_are_no_pixels(write, values, message):
    with pytest.raises(DataError, match=f"holds {message} values: convert it to unsigned 8 or 16 bits"):
        read_image(write(values, "TIFF"))


def test_signed_and_planar_tiffs(write):
    grey = cv2.imencode(".tiff", np.ones((HEIGHT, WIDTH), np.uint16))[1].tobytes()
    with pytest.raises(DataError, match="16-bit signed"):
        read_image(write(retag(grey, 339, 2)))
    colour = cv2.imencode(".tiff", np.ones((HEIGHT, WIDTH, 3), np.uint16))[1].tobytes()
    with pytest.raises(DataError, match="separate planes: convert"):
        read_image(write(retag(colour, 284, 2)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"x,y\n1,2\n", "text, beginning 'x,y"),
        (b"\n <!DOCTYPE html><html><body>404</body>", "web page: download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer.*git lfs pull"),
        (b"\x93NUMPY\x01\0rest", "begins 93 4e 55 4d.*convert it to PNG"),
        (b"\xff\xd8\xff\xe0", "truncated JPEG"),
        (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
        (b"II*\0\x08\0\0\0", "truncated TIFF"),
        (b"BM", "BMP file that is damaged"),
    ],
)
def test_no_image(write, content, message):
    with pytest.raises(DataError, match=rf"(?s)file\.jpg .*{message}"):
        read_image(write(content, name="file.jpg"))


def test_absurd_size(write):
    header = b"IHDR" + struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc + b"\0\0\0\0IEND\xaeB`\x82"
    with pytest.raises(DataError, match=r"file\.png is too large .*tiles"):
        read_image(write(content))


def test_paths_that_cannot_be_read(write, tmp_path):
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read: it is a folder, not a file"):
        read_mask(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_no_permission(write):
    path = write(b"content")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_of_a_sound_image(rgb, write):
    content = encode(Image.fromarray(rgb), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(write(content)), rgb[..., ::-1])


def test_mask_keeps_grey_values(write):
    for values in (np.arange(256, dtype=np.uint8), np.arange(0, 65536, 256, dtype=np.uint16)):
        for kind in ("png", "tiff"):
            mask = read_mask(write(values.reshape(16, 16), kind))
            assert mask.dtype == values.dtype
            np.testing.assert_array_equal(mask, values.reshape(16, 16))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_mask_of_palette(write, kind):
    indices = np.tile(np.uint8([0, 1, 2, 3]), (4, 1))
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 128])
    np.testing.assert_array_equal(read_mask(write(image, kind, optimize=False)), indices)
    image.putpalette([255] * 3 + [0] * 3 + [7] * 3 + [100] * 3)
    np.testing.assert_array_equal(read_mask(write(image, kind, optimize=False)), np.tile([255, 0, 7, 100], (4, 1)))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_mask_of_one_bit(write, kind):
    bits = np.eye(8, 12, dtype=bool)
    np.testing.assert_array_equal(read_mask(write(Image.fromarray(bits), kind)), bits * np.uint8(255))


def test_one_bit_white_is_zero(write):
    bits = np.eye(8, 16, dtype=bool)
    path = write(retag(encode(Image.fromarray(bits), "TIFF"), 262, 0))
    np.testing.assert_array_equal(read_mask(path), ~bits * np.uint8(255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_mask_of_colours(rgb, write, kind):
    np.testing.assert_array_equal(read_mask(write(Image.fromarray(rgb), kind)), rgb)
    grey = np.dstack([rgb[..., 0]] * 3)
    np.testing.assert_array_equal(read_mask(write(Image.fromarray(grey), kind)), rgb[..., 0])


def test_mask_in_the_alpha_channel(rgb, write):
    rgba = with_alpha(np.full_like(rgb, 255))
    with pytest.raises(DataError, match=r"file\.png is of one colour: the mask is in its alpha channel"):
        read_mask(write(Image.fromarray(rgba)))
    rgba[..., 3] = 9
    assert (read_mask(write(Image.fromarray(rgba))) == 255).all()
    np.testing.assert_array_equal(read_mask(write(Image.fromarray(with_alpha(rgb)))), rgb)


def test_two_processes_may_write_a_file(tmp_path, monkeypatch):
    path = tmp_path / "deep/a.txt"

    def write(partial):
        partial.write_text("one")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            replace_file(path, lambda other: other.write_text("another"))
        assert path.read_text() == "another"

    replace_file(path, write)
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def write(partial):
        partial.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "a.txt", write)
    (tmp_path / "b").write_text("a file")
    with pytest.raises(DataError, match=r"b/a\.txt cannot be written"):
        replace_file(tmp_path / "b/a.txt", write)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
