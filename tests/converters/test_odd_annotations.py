"""Invalid annotation files give a result or an error that names the file; --on-error skip leaves it out."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from samplug.commands.run import main
from samplug.converters import Selection, read_annotations, to_masks, to_sa1b
from samplug.converters.writing import usable_drawings
from samplug.datasets import DataError
from samplug.utils.errors import UserError
from tests.converters.test_to_masks import (
    HEIGHT,
    SQUARE,
    WIDTH,
    box,
    coco_json,
    convert,
    labelme_json,
    png_base64,
    read,
    shape,
    write_image,
    yolo_folder,
)


def nested(depth, inner=0):
    for _ in range(depth):
        inner = [inner]
    return inner


ODD = [
    None, True, -1, 0.5, 10**400, float("nan"), float("inf"), "", "x" * 5000, "a\0b", "\ud800", "caf\udce9", "../../a.jpg",
    "C:\\a.jpg", [], {}, [None], {"a": 1}, nested(400), [1] * 5000,
]  # fmt: skip


def mutations(content):
    """Yield copies with each nested value replaced by each invalid value, or removed."""
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            for value in ODD:
                changed = copy.copy(content)
                changed[key] = value
                yield changed
            for inside in mutations(content[key]):
                changed = copy.copy(content)
                changed[key] = inside
                yield changed
    if isinstance(content, dict):
        for key in content:
            yield {name: value for name, value in content.items() if name != key}


def outcome(source):
    """Return the names of images that would be drawn; None after a samplug error that names the source."""
    try:
        annotations = read_annotations(source)
        drawings, problems, _ = usable_drawings("to-masks", annotations, Selection(), True)
        for drawing in drawings:
            for region, _ in drawing.regions:
                region.shape.raster(drawing.size)
        json.dumps([problem._asdict() for problem in problems]).encode()
    except UserError as error:
        text = str(error)
    else:
        return {str(drawing.image.name) for drawing in drawings}
    assert str(source) in text
    assert max(map(len, text.splitlines())) < 1000
    return None


@pytest.fixture
def in_one_thread(monkeypatch):
    """Avoid thread pools for thousands of small conversions."""
    monkeypatch.setattr("samplug.converters.checking.in_parallel", lambda work, items, doing: map(work, items))


def test_any_value_of_labelme_may_be_odd(tmp_path, in_one_thread):
    write_image(tmp_path / "sound.jpg")
    labelme_json(tmp_path / "sound.json", [shape([[1, 1], [5, 1], [5, 5]])], image="sound.jpg")
    bitmap = shape([[1, 1], [2, 2]], "mask", mask=png_base64(np.ones((2, 2), np.uint8)))
    path = labelme_json(tmp_path / "a.json", [shape([[1, 1], [5, 1], [5, 5]], group_id=1), bitmap])
    base = json.loads(path.read_text()) | dict(imageData=png_base64(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    found = []
    for content in mutations(base):
        path.write_text(json.dumps(content))
        found.append(outcome(tmp_path))
        assert "sound.jpg" in found[-1], content
    assert {"sound.jpg", "a.jpg"} in found
    assert {"sound.jpg"} in found


def test_any_value_of_coco_may_be_odd(tmp_path, in_one_thread):
    source = coco_json(tmp_path, [(1, [SQUARE], dict(iscrowd=0))] * 2, images=("a.jpg", "sound.jpg"))
    base = json.loads(source.read_text())
    base["annotations"][1]["image_id"] = 1
    untouched = [base["images"][1:], base["annotations"][1:], base["categories"]]
    names = set()
    for content in mutations(base):
        source.write_text(json.dumps(content))
        found = outcome(source) or set()
        names |= found
        lists = [content.get("images"), content.get("annotations")]
        if all(isinstance(entries, list) for entries in lists):
            others = [*(entries[1:] for entries in lists), content.get("categories")]
            # An invalid entry affects only its own image.
            if json.dumps(others) == json.dumps(untouched):
                assert "sound.jpg" in found, json.dumps(content)[:800]
    assert names == {"a.jpg", "sound.jpg"}


@pytest.mark.parametrize(
    "word",
    ["", "cat", "nan", "inf", "-inf", "1e999", "9" * 400, "-1", "0.5", "1_0", "\0", "0x1", "\x85", "é", "0 " * 20_000],
)
def test_any_word_of_a_label_file_may_be_odd(tmp_path, in_one_thread, word):
    words = ["0", ".1", ".1", ".5", ".1", ".5", ".5"]
    source = yolo_folder(tmp_path / "in", {"sound.txt": " ".join(words)}, names=None, images=("a.jpg", "sound.jpg"))
    for place in range(len(words)):
        (source / "labels" / "a.txt").write_text(
            " ".join([*words[:place], word, *words[place + 1 :]]), encoding="utf-8"
        )
        assert "sound.jpg" in outcome(source)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "{", "[1e999]", "[" + "9" * 5000 + "]", "null", '"\\ud800"', "\0"]
)
def test_json_of_any_text(tmp_path, text):
    write_image(tmp_path / "a.jpg")
    labelme_json(tmp_path / "a.json", [shape([[2, 1], [5, 3]], "rectangle")])
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError, match=r"1 problems in .*\n  .*b\.json: is"):
        convert(tmp_path, tmp_path / "out")
    summary = convert(tmp_path, tmp_path / "out", skip_problems=True)
    assert (summary["images"], len(summary["problems"])) == (1, 1)
    with pytest.raises(DataError, match=r"b\.json is"):
        read_annotations(tmp_path / "b.json")


# COCO


def test_one_name_of_many_images_is_one_problem_each(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})])
    content = json.loads(source.read_text())
    content["images"] = [dict(content["images"][0], id=number) for number in range(60)]
    source.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"60 problems in .*\n.*a\.jpg: is annotated twice"):
        convert(source, tmp_path / "out")


def brush_masks(folder, *crowds):
    runs = dict(counts=[0, 10 * HEIGHT, 20 * HEIGHT], size=[HEIGHT, WIDTH])
    return coco_json(folder, [(1, runs, dict(iscrowd=crowd)) for crowd in crowds])


@pytest.mark.parametrize("convert_to", [to_masks, to_sa1b])
def test_masks_that_are_all_crowd_areas_need_a_decision(tmp_path, convert_to):
    annotations = read_annotations(brush_masks(tmp_path, 1, 1))
    with pytest.raises(DataError, match=r"all 2 objects .* crowd areas .*CVAT.*--crowd foreground"):
        convert_to(annotations, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    summary = convert_to(annotations, tmp_path / "objects", Selection(crowd="foreground"))
    assert (summary["objects"], summary["objects_left_out"]["crowd"]) == (2, 0)
    summary = convert_to(annotations, tmp_path / "none", Selection(crowd="skip"))
    assert (summary["objects"], summary["objects_left_out"]["crowd"]) == (0, 2)


def test_some_crowd_areas_are_left_out_and_counted(tmp_path, capsys):
    source = brush_masks(tmp_path, 1, 0)
    assert main("prepare", ["to-sa1b", str(source), str(tmp_path / "out")]) == 0
    assert "objects left out: 1 crowd areas (--crowd foreground converts them)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "drawn"),
    [("0", 255), (False, 255), (None, 255), (0.0, 255), ("1", 127), (True, 127), ("yes", None), (2, None), ([], None)],
)
def test_iscrowd_as_home_made_converters_write_it(tmp_path, value, drawn):
    source = coco_json(tmp_path, [(1, [SQUARE], dict(iscrowd=value))])
    if drawn is None:
        with pytest.raises(DataError, match=r"a\.jpg: annotation 100 has the iscrowd .*neither 0 nor 1"):
            convert(source, tmp_path / "out")
    else:
        convert(source, tmp_path / "out")
        np.testing.assert_array_equal(read(tmp_path / "out"), box(1, 2, 4, 6, drawn))


@pytest.mark.parametrize("make", [str, float])
def test_ids_as_tables_write_them(tmp_path, make):
    source = coco_json(tmp_path, [(1, [SQUARE], {}), (7, [SQUARE], {})])
    content = json.loads(source.read_text())
    for entry in content["annotations"]:
        entry |= dict(image_id=make(entry["image_id"]), category_id=make(entry["category_id"]))
    source.write_text(json.dumps(content))
    assert list(convert(source, tmp_path / "out")["classes"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    "height", [None, "", str(HEIGHT), float(HEIGHT), f"{HEIGHT}.0", "tall", 0, -5, 20.5, 10**400, []]
)
def test_sizes_as_home_made_converters_write_them(tmp_path, height):
    source = coco_json(tmp_path, [(1, [SQUARE], {})], height=height)
    if height in (None, "") or (str(height).startswith("20") and height != 20.5):
        convert(source, tmp_path / "out")
        np.testing.assert_array_equal(read(tmp_path / "out"), box(1, 2, 4, 6))
    else:
        with pytest.raises(
            DataError, match=r"a\.jpg: has the height .* in its annotation: write pixels, or leave it out"
        ):
            convert(source, tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["..\\..\\label-studio\\media\\a.jpg", "C:\\Users\\me\\deep\\a.jpg", "D:/a.jpg", "/home/me/photos/deep/a.jpg", "deep\\a.jpg",
     "\\\\server\\share\\a.jpg", "http://host/data/a.jpg"],
)  # fmt: skip
def test_paths_of_another_computer_are_taken_by_their_end(tmp_path, name):
    images = tmp_path / "images"
    write_image(images / "a.jpg")
    write_image(images / "deep" / "a.jpg")
    source = coco_json(tmp_path / "json", [(1, [SQUARE], {})], file_name=name)
    (image,) = read_annotations(source, images=images).images
    assert image.name.as_posix() == ("deep/a.jpg" if "deep" in name else "a.jpg")
    assert image.source.is_file()


@pytest.mark.parametrize(
    "name", ["../a.jpg", "..\\..\\secret.jpg", "/etc/secret.jpg", "C:\\", "a\0.jpg", "\ud800.jpg", ""]
)
def test_no_path_leads_out_of_the_folder(tmp_path, name):
    write_image(tmp_path / "secret.jpg")
    source = coco_json(tmp_path / "in" / "images", [(1, [SQUARE], {})], images=("a.jpg", "b.jpg"), file_name=name)
    with pytest.raises(DataError, match=r"images\[0\]: has the file_name .*: not a path of an image in"):
        convert(source, tmp_path / "out")
    assert convert(source, tmp_path / "out", skip_problems=True)["images"] == 1


def test_images_of_cvat_are_found(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})])
    write_image(tmp_path / "images" / "default" / "a.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "a.jpg").unlink()
    source = source.rename(tmp_path / "annotations" / "instances_default.json")
    assert convert(source, tmp_path / "out")["objects"] == 1


def test_a_name_that_is_too_long_to_write(tmp_path):
    source = coco_json(tmp_path, [(1, [SQUARE], {})], images=("x" * 251 + ".jpg",))
    with pytest.raises(DataError, match=r"1 names of files to write have more than 255 bytes"):
        to_sa1b(read_annotations(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert to_masks(read_annotations(source), tmp_path / "out")["objects"] == 1


# labelme


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle", "rotation", "quadrilateral"])
def test_shapes_given_by_their_corners(tmp_path, kind):
    write_image(tmp_path / "a.jpg")
    labelme_json(tmp_path / "a.json", [shape([[2, 1], [5, 1], [5, 3], [2, 3]], kind)])
    convert(tmp_path, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out"), box(1, 2, 4, 6))


def test_an_embedded_image_whose_path_is_the_json(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    path = labelme_json(tmp_path / "scan.json", [shape([[2, 1], [5, 3]], "rectangle")], image="scan.json")
    path.write_text(path.read_text().replace('"imageData": null', f'"imageData": "{png_base64(pixels)}"'))
    assert convert(tmp_path, tmp_path / "out")["objects"] == 1
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/images/scan.png")), pixels[..., ::-1])


def test_an_embedded_image_has_the_limits_of_files(tmp_path, monkeypatch):
    path = labelme_json(tmp_path / "scan.json", [shape([[2, 1], [5, 3]], "rectangle")], image="gone.png")
    embedded = png_base64(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    path.write_text(path.read_text().replace('"imageData": null', f'"imageData": "{embedded}"'))
    monkeypatch.setenv("SAMPLUG_MAX_PIXELS", str(HEIGHT * WIDTH - 1))
    with pytest.raises(DataError, match=r"scan\.json: embeds imageData that is not an image: it is too large"):
        convert(tmp_path, tmp_path / "out")


def test_a_windows_path_is_the_image_beside_the_json(tmp_path):
    write_image(tmp_path / "a.jpg")
    labelme_json(tmp_path / "a.json", [shape([[2, 1], [5, 3]], "rectangle")], image="C:\\Users\\me\\a.jpg")
    assert convert(tmp_path, tmp_path / "out")["objects"] == 1
