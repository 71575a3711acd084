"""File names of other systems and times: Unicode forms, undecodable bytes, line breaks, great length."""

import json
import os
import unicodedata

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

from samplug.datasets import BinarySegDataset, DataError
from samplug.datasets.summary import summarise

PIPELINE = [dict(type="LoadImage"), dict(type="LoadBinaryMask"), dict(type="PackSegInputs")]
NAMES = [os.fsdecode(b"caf\xe9"), "日本", "a\nb", "x" * 250, "plain"]


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", np.asarray(values, np.uint8))[1].tobytes())


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for index, name in enumerate(NAMES):
        write(root / "images" / f"{name}.png", np.full((8, 8, 3), index))
        write(root / "masks" / f"{name}.png", np.zeros((8, 8)) if index == 0 else np.eye(8) * 255)
    return root


def test_a_set_with_such_names_is_read_logged_cached_and_described(folder, tmp_path, capfd):
    logger = MMLogger.get_instance("names", log_file=str(tmp_path / "log.txt"))
    for _ in range(2):  # the second time from the cache
        dataset = BinarySegDataset(data_root=str(folder), check="all", pipeline=PIPELINE)
        found = [os.path.basename(dataset[index]["data_samples"].img_path) for index in range(len(dataset))]
        assert sorted(found) == sorted(f"{name}.png" for name in NAMES)
    json.dumps(summarise(dataset)).encode()
    for text in (*dataset.remarks(), dataset.summary()):
        text.encode()
    for handler in logger.handlers:
        handler.flush()
    assert r"caf\xe9: 5 images" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "Logging error" not in "".join(capfd.readouterr())


def test_problems_are_one_printable_line_each(folder):
    for name in NAMES:
        (folder / "masks" / f"{name}.png").unlink()
    write(folder / "masks" / "other.png", np.eye(8) * 255)
    with pytest.raises(DataError) as caught:
        BinarySegDataset(data_root=str(folder), pipeline=[])
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 6
    assert all(len(line) < 810 for line in lines)
    for line in lines:
        line.encode()


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_look_alike_get_a_hint(tmp_path, forms):
    image, mask = (unicodedata.normalize(form, "café") for form in forms)
    write(tmp_path / "images" / f"{image}.png", np.zeros((8, 8, 3)))
    write(tmp_path / "masks" / f"{mask}.png", np.eye(8) * 255)
    with pytest.raises(DataError, match=rf"looks the same.*form {forms[0]} and one in {forms[1]}.*rename"):
        BinarySegDataset(data_root=str(tmp_path), pipeline=[])


@pytest.mark.parametrize("line", ["a\0b", "a\0b\tc", "../" * 3000, "x" * 5000, "\ud800".encode(errors="surrogatepass")])
def test_odd_lines_of_lists_are_problems_or_errors(folder, line):
    text = line if isinstance(line, bytes) else line.encode()
    (folder / "list.txt").write_bytes(b"plain\n" + text + b"\n")
    with pytest.raises(DataError, match=r"list\.txt") as caught:
        BinarySegDataset(data_root=str(folder), ann_file="list.txt", pipeline=[])
    assert max(map(len, str(caught.value).splitlines())) < 900
    if b"\xed" not in text:
        dataset = BinarySegDataset(data_root=str(folder), ann_file="list.txt", on_error="skip", pipeline=[])
        assert (len(dataset), len(dataset.skipped)) == (1, 1)
