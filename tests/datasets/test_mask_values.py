"""Which mask values become foreground, and which are refused."""

import io
import json
import pickle
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from samplug.datasets.mask_values import MaskValues, decide_mask_values
from samplug.datasets.transforms import LoadBinaryMask
from samplug.datasets.transforms.loading import load_labels
from samplug.imaging.files import read_mask
from samplug.utils.errors import ConfigError, DataError

RED, GREEN, BLUE, BLACK, WHITE, YELLOW = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (0, 0, 0),
    (255, 255, 255),
    (255, 255, 0),
)


def labels(spec, values, dtype=np.uint8):
    raw = np.array([values], dtype)
    found = MaskValues.parse(spec).labels(raw, "m.png")
    assert found.shape == raw.shape[:2]
    assert found.dtype == np.uint8
    return found[0].tolist()


def test_grey_rules():
    assert labels("0/255", [0, 1, 128, 129, 255]) == [0, 0, 0, 1, 1]
    assert labels("0/255", [0, 128 * 257, 128 * 257 + 1, 65535], np.uint16) == [0, 0, 1, 1]
    assert labels("0/1", [0, 1, 1]) == [0, 1, 1]
    assert labels("0/1", [0, 1, 1], np.uint16) == [0, 1, 1]
    for spec in ("0/255", "0/1"):
        assert labels(spec, [0, 0]) == [0, 0]


@pytest.mark.parametrize(
    ("spec", "values", "dtype", "message"),
    [
        ("0/1", [0, 1, 2], np.uint8, r"m\.png has values up to 2 in a dataset of 0/1"),
        ("0/255", [0, 1], np.uint8, r"m\.png contains 0/1 in a dataset of 0/255"),
        (
            "0/255",
            [0, 1, 2, 2],
            np.uint8,
            r"m\.png holds 2 \(2 pixels\), 0 \(1 pixels\), 1 \(1 pixels\) and nothing bright",
        ),
        ("0/255", [0, 255], np.uint16, r"16-bit mask m\.png holds 0 \(1 pixels\), 255"),
        ("0/255", [RED, BLACK], np.uint8, r"m\.png holds colours.*\[255, 0, 0\] \(1 pixels\).*mask_values='red'"),
        ("0/1", [RED, BLACK], np.uint8, r"m\.png holds colours, .*foreground=\[\[255, 0, 0\]\]"),
        (dict(foreground=[1]), [RED, BLACK], np.uint8, r"m\.png holds colours"),
        ("red", [0, 2], np.uint8, r"m\.png holds grey values or palette indices \(0 \(1 pixels\), 2 .*'0/255'"),
        (
            dict(foreground=[1, 2]),
            [0, 1, 3, 3, 9],
            np.uint8,
            r"m\.png contains 3 \(2 pixels\), 9 \(1 pixels\) which .* not list",
        ),
        (dict(foreground=[RED]), [BLACK, RED, GREEN], np.uint8, r"m\.png contains \[0, 255, 0\] \(1 pixels\) which"),
        (dict(foreground=[RED]), [0, 7], np.uint8, r"m\.png contains 7 \(1 pixels\) which"),
        (dict(foreground=[WHITE]), [0, 256], np.uint16, r"m\.png contains 256 \(1 pixels\) which"),
    ],
)
def test_values_without_meaning(spec, values, dtype, message):
    with pytest.raises(DataError, match=message):
        labels(spec, values, dtype)


def test_lists():
    spec = dict(foreground=[1, 2], background=[0, 7], ignore=[255])
    assert labels(spec, [0, 1, 2, 7, 255]) == [0, 1, 1, 0, 255]
    assert labels(dict(foreground=[300]), [0, 300], np.uint16) == [0, 1]
    assert labels(dict(foreground=[0], background=[1]), [0, 1]) == [1, 0]
    colours = dict(foreground=[RED, (0, 0, 128)], ignore=[WHITE])
    assert labels(colours, [BLACK, RED, (0, 0, 128), WHITE]) == [0, 1, 1, 255]
    assert labels(colours, [0, 255]) == [0, 255]  # a file without any colour is read as grey


@pytest.mark.parametrize(
    ("spec", "foreground"), [("red", [RED]), ("green", [GREEN]), ("blue", [BLUE]), ("red/green", [RED, GREEN])]
)
def test_named_colours(spec, foreground):
    for colour in (RED, GREEN, BLUE, BLACK):
        raw = np.zeros((20, 30, 3), np.uint8)
        raw[2:18, 2:28] = colour
        found = MaskValues.parse(spec).labels(raw, "m.png")
        np.testing.assert_array_equal(found, raw.any(2) & (colour in foreground))
    assert not MaskValues.parse(spec).labels(np.zeros((4, 4), np.uint8), "m.png").any()


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_named_colours_in_jpeg(tmp_path, quality, subsampling):
    truth = np.zeros((200, 300, 3), np.uint8)
    cv2.ellipse(truth, (90, 90), (60, 40), 30, 0, 360, RED, -1)
    cv2.ellipse(truth, (150, 110), (50, 60), 70, 0, 360, GREEN, -1)  # touches the red one
    path = tmp_path / "m.jpeg"
    Image.fromarray(truth).save(path, quality=quality, subsampling=subsampling)
    raw = read_mask(path)
    for spec, wanted in (("red/green", truth.any(2)), ("red", truth[..., 0] > 0), ("green", truth[..., 1] > 0)):
        found = MaskValues.parse(spec).labels(raw, path)
        assert (found != wanted).sum() < 0.01 * wanted.sum()
    both = MaskValues.parse("red/green").labels(raw, path)
    inside = cv2.erode(truth.any(2).astype(np.uint8), np.ones((7, 7)))
    assert both[inside > 0].all()  # no seam where the two touch


@pytest.mark.parametrize("colour", [WHITE, YELLOW, (128, 0, 0), (100, 100, 100), (255, 200, 200)])
def test_areas_of_other_colours_are_refused(colour):
    raw = np.zeros((40, 40, 3), np.uint8)
    raw[20:30, 20:30] = RED
    raw[2:8, 2:38] = colour  # six pixels thin: an edge
    MaskValues.parse("red/green").labels(raw, "m.png")
    raw[2:9, 2:9] = colour
    with pytest.raises(DataError, match=r"m\.png has areas of another colour .*\(1 pixels\).*foreground=\[\[r, g, b\]"):
        MaskValues.parse("red/green").labels(raw, "m.png")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("1", "mask_values='1' is not '0/255', '0/1', 'red'"),
        ("auto", "mask_values='auto'"),
        (dict(foreground=[]), "give foreground"),
        (dict(background=[0]), "give foreground"),
        (dict(foreground=[1], ignored=[2]), "give foreground"),
        (dict(foreground=[1.5]), r"1\.5 is not a whole number"),
        (dict(foreground=[True]), "True is not a whole number"),
        (dict(foreground=["red"]), "'red' is not a whole number"),
        (dict(foreground=[70000]), "70000 is not"),
        (dict(foreground=[1], background=[BLACK]), r"\(0, 0, 0\) is not a whole number"),
        (dict(foreground=[RED], ignore=[5]), "5 is not a colour"),
        (dict(foreground=[(1, 2)]), r"\(1, 2\) is not a colour"),
        (dict(foreground=[(1, 2, 256)]), r"\(1, 2, 256\) is not a colour"),
        (dict(foreground=[1, 2], ignore=[2]), "lists 2 twice"),
        (dict(foreground=[0]), "lists 0 twice"),
        (dict(foreground=1), "give foreground"),
        (3, "mask_values=3"),
        (["0/1"], r"mask_values=\['0/1'\]"),
    ],
)
def test_wrong_specs(spec, message):
    with pytest.raises(ConfigError, match=message):
        MaskValues.parse(spec)


@pytest.mark.parametrize(
    "spec", ["0/255", "red/green", dict(foreground=[(1, 2, 3)]), dict(foreground=(1, 2), ignore=[255])]
)
def test_spec_is_plain(spec):
    values = MaskValues.parse(spec)
    assert MaskValues.parse(json.loads(json.dumps(values.spec))) == values
    assert pickle.loads(pickle.dumps(values)) == values
    assert MaskValues.parse(values) is values


@pytest.fixture
def masks(tmp_path):
    """Write masks, each given by its values (one row) or as an array, and return their paths."""

    def masks(*values):
        paths = []
        for index, value in enumerate(values):
            array = np.asarray(value)
            array = array if array.dtype == np.uint16 else array.astype(np.uint8)
            if array.ndim == 1:
                array = array[None]
            paths.append(tmp_path / f"{index}.png")
            cv2.imwrite(str(paths[-1]), array[..., ::-1] if array.ndim == 3 else array)
        return paths

    return masks


def test_decide(masks):
    assert decide_mask_values(masks([0, 0], [0, 1], [1, 1])) == "0/1"
    assert decide_mask_values(masks([0, 0], [0, 255], [255, 255])) == "0/255"
    assert decide_mask_values(masks([0, 0], [0, 0])) == "0/255"
    assert decide_mask_values(masks(np.uint16([0, 65535]), [0, 255])) == "0/255"
    assert decide_mask_values(masks([0, 40, 130, 255])) == "0/255"
    # Compressed: one mask shows small values only, as a label map would, the sample shows what they are.
    assert decide_mask_values(masks([0, 11, 255], [0, 3, 80, 250])) == "0/255"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, 1], [0, 255]], r"0\.png is a 0/1 mask and .*1\.png is not: one dataset must be of one kind"),
        ([[0, 255], [0, 2], [0, 255]], r"1\.png is a mask of 0, 2 alone and .*0\.png is not: one dataset"),
        # Soft edges have small values too.
        ([[0, 2], list(range(0, 256, 3))], r"0\.png is a mask of 0, 2 alone and .*1\.png is not: one dataset"),
        ([[0, 50, 100], [0, 50, 255]], r"foreground=\[50, 100\], background=\[0\], ignore=\[255\]"),
        (
            [[0, 255], [0, 1, 255], [0, 2, 255]],
            r"1\.png is neither .*: 0, 1, 2, 255\).*mask_values=dict\(foreground=\[1, 2\], background=\[0\], ignore=\[255\]\)",
        ),
        ([[0, 1], [0, 2, 1]], r"1\.png is neither .*foreground=\[1, 2\], background=\[0\], ignore=\[\]\)"),
        ([[0, 2]], r"foreground=\[2\]"),
        ([list(range(151))], r"0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\)"),
        ([np.uint16([0, 255])], r"foreground=\[255\], background=\[0\], ignore=\[\]"),
        ([[[RED, BLACK]]], r"0\.png holds colours, mostly \[0, 0, 0\] \(1 pixels\), \[255, 0, 0\].*mask_values='red'"),
    ],
)
def test_decide_refuses(masks, values, message):
    with pytest.raises(DataError, match=message):
        decide_mask_values(masks(*values))


def test_real_label_maps_and_noisy_masks(test_data):
    pets = sorted((test_data / "data/oxford_pets/annotations/label").iterdir())
    with pytest.raises(DataError, match=r"0, 1, 2, 255\).*foreground=\[1, 2\], background=\[0\], ignore=\[255\]"):
        decide_mask_values(pets)
    spec = dict(foreground=[1, 2], background=[0], ignore=[255])
    for path in pets:
        raw = read_mask(path)
        found = MaskValues.parse(spec).labels(raw, path)
        np.testing.assert_array_equal(found == 255, raw == 255)
        np.testing.assert_array_equal(found == 1, (raw == 1) | (raw == 2))
    assert decide_mask_values(sorted((test_data / "data/cvc_clinicdb/CVC-ClinicDB/Ground Truth").iterdir())) == "0/255"


def test_load_labels_checks_the_pair(masks):
    (path,) = masks(np.eye(4, 6) * 255)
    np.testing.assert_array_equal(load_labels(path, (4, 6), "i.jpg", "0/255"), np.eye(4, 6))
    with pytest.raises(DataError, match=r"0\.png is 6x4, its image i\.jpg is 7x4: (?!.*EXIF)"):
        load_labels(path, (4, 7), "i.jpg", "0/255")
    with pytest.raises(DataError, match=r"0\.png is 6x4, its image i\.jpg is 4x6: .*EXIF rotation that the mask lacks"):
        load_labels(path, (6, 4), "i.jpg", "0/255")
    with pytest.raises(ConfigError, match="size_mismatch='resize'"):
        load_labels(path, (4, 6), "i.jpg", "0/255", "resize")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_are_resized_before_their_values_are_read(masks, dtype):
    values = np.array([[0, 1, 2], [2, 0, 1]], dtype)
    (path,) = masks(values)
    spec = dict(foreground=[1], ignore=[2])
    found = load_labels(path, (4, 6), "i.jpg", spec, "resize_mask")
    np.testing.assert_array_equal(found, np.kron(np.select([values == 1, values == 2], [1, 255]), np.ones((2, 2))))


def test_transform(masks):
    (path,) = masks([[0, 1, 255]])
    results = dict(
        seg_map_path=str(path), img_path="i.jpg", ori_shape=(1, 3), mask_values=dict(foreground=[1], ignore=[255])
    )
    loaded = LoadBinaryMask()(dict(results))
    assert loaded["gt_seg_map"].tolist() == [[0, 1, 255]]
    assert loaded["seg_fields"] == ["gt_seg_map"]
    results["ori_shape"] = (2, 6)
    with pytest.raises(DataError, match="3x1, its image"):
        LoadBinaryMask()(dict(results))
    assert LoadBinaryMask()(dict(results, size_mismatch="resize_mask"))["gt_seg_map"].shape == (2, 6)
    made = np.ones((2, 2), np.uint8)
    assert LoadBinaryMask()(dict(generated_map=made))["gt_seg_map"] is made


def test_indices_of_a_palette(tmp_path):
    image = Image.fromarray(np.uint8([[0, 1, 2]]))
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    path = tmp_path / "m.png"
    path.write_bytes(stream.getvalue())
    assert load_labels(path, (1, 3), "i.jpg", dict(foreground=[2], background=[0, 1])).tolist() == [[0, 0, 1]]
    with pytest.raises(DataError, match="palette indices"):
        load_labels(path, (1, 3), "i.jpg", "red")


def trimap(grey, width=7, white=255, dtype=np.uint8):
    """A disc with a band of grey around it, (60, 80)."""
    disc = cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 15, 1, -1)
    wide = cv2.dilate(disc, np.ones((width, width), np.uint8))
    return np.where(disc > 0, white, np.where(wide > 0, grey, 0)).astype(dtype)


@pytest.fixture
def write_masks(tmp_path):
    def write(*masks, suffix=".png"):
        paths = [tmp_path / f"{index}{suffix}" for index in range(len(masks))]
        for path, values in zip(paths, masks, strict=True):
            Image.fromarray(values).save(path, **(dict(quality=90) if suffix == ".jpg" else {}))
        return paths

    return write


@pytest.mark.parametrize(
    ("grey", "spec"),
    [(1, "foreground=[1], background=[0], ignore=[255]")]
    + [(grey, f"foreground=[255], background=[0], ignore=[{grey}]") for grey in (64, 127, 128, 192, 254)],
)
def test_three_flat_values_need_a_meaning(write_masks, grey, spec):
    with pytest.raises(DataError, match=rf"0\.png .*{re.escape(f'mask_values=dict({spec})')}"):
        decide_mask_values(write_masks(trimap(grey)))
    assert decide_mask_values(write_masks(trimap(0))) == "0/255"


def test_thin_lines_of_one_grey_in_every_mask(write_masks):
    with pytest.raises(DataError, match="holds areas of 128"):
        decide_mask_values(write_masks(*[trimap(128, 3)] * 3))


def test_sixteen_bits_and_four_levels(write_masks):
    with pytest.raises(DataError, match=r"foreground=\[65535\], background=\[0\], ignore=\[32768\]"):
        decide_mask_values(write_masks(trimap(32768, white=65535, dtype=np.uint16)))
    levels = np.repeat(np.array([0, 85, 170, 255], np.uint8), 20)[None].repeat(60, 0)
    with pytest.raises(DataError, match=r"ignore=\[85, 170\]"):
        decide_mask_values(write_masks(levels))


def test_compression_does_not_hide_the_band(write_masks):
    with pytest.raises(DataError, match=r"areas of 12\d, neither black nor white .*'0/255' if all above 128"):
        decide_mask_values(write_masks(trimap(128, 41), suffix=".jpg"))


def test_soft_edges_and_other_whites_have_a_meaning(write_masks):
    disc = trimap(0)
    soft = [cv2.GaussianBlur(disc, (0, 0), sigma) for sigma in (1, 2, 4)]
    halved = cv2.resize(disc, (40, 30), interpolation=cv2.INTER_AREA)
    assert decide_mask_values(write_masks(*soft)) == "0/255"
    assert decide_mask_values(write_masks(halved)) == "0/255"
    assert decide_mask_values(write_masks(disc, suffix=".jpg")) == "0/255"
    # Two programs that write white as 254 and as 255.
    assert decide_mask_values(write_masks(*[disc, np.minimum(disc, 254)] * 3)) == "0/255"
