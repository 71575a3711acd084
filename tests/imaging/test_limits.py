"""What small and strange files may take: memory, time, and nothing but regular files."""

import json
import os
import socket
import threading

import cv2
import numpy as np
import pytest

from samplug.datasets.pairing import read_lines
from samplug.imaging.files import read_image, read_mask, read_size
from samplug.imaging.limits import VARIABLE
from samplug.imaging.rasters import georeference, open_raster
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.files import read_json
from samplug.utils.regular_files import open_regular
from tests.conftest import ROOT
from tests.imaging import bombs
from tests.processes import run_python

MEMORY = 64 * 2**20
SECONDS = 5


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Name -> outcome, memory and time of reading each file of ``bombs`` in one process."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (content, _) in bombs.files().items():
        (folder / name).write_bytes(content)
    done = run_python(ROOT / "tests/imaging/read_all.py", folder, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", bombs.files())
def test_memory_and_time_are_bounded(outcomes, name):
    result, memory, seconds = outcomes[name]
    assert bombs.files()[name][1] in result
    assert memory < MEMORY, f"{memory >> 20} MiB"
    assert seconds < SECONDS
    assert len(result) < 500
    assert "not named" not in result


@pytest.fixture
def strange(tmp_path):
    """Paths that are not regular files, by their name in messages, and a sparse file of 40 GB."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # the path of a socket must be short
    listener.bind("socket.png")
    os.chdir(here)
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(40 * 10**9)
    yield {
        "pipe.png": "a pipe", "device.png": "a link to a device", "folder.png": "a folder", "socket.png": "a socket",
        "sparse.png": "40,000,000,000 bytes",
    }  # fmt: skip
    listener.close()


@pytest.mark.parametrize(
    "read",
    [read_image, read_mask, read_size, read_json, open_raster, lambda path: read_lines(path, "pair")],
    ids=["image", "mask", "size", "json", "raster", "list"],
)
def test_only_regular_files_of_a_stated_size_are_read(strange, tmp_path, read):
    for name, words in strange.items():
        with pytest.raises(DataError, match=words) as caught:
            within(20, read, tmp_path / name)
        assert name in str(caught.value)


def test_georeference_of_what_is_no_file(strange, tmp_path):
    (tmp_path / "pipe.png").rename(tmp_path / "pipe.tif")
    assert within(20, georeference, tmp_path / "pipe.tif") is None


def within(seconds, function, *arguments):
    """Call a function in a thread, so that a function that blocks does not stop the tests."""
    found = []

    def call():
        try:
            found.append((function(*arguments), None))
        except Exception as error:
            found.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "still waiting"
    value, error = found[0]
    if error:
        raise error
    return value


def test_a_file_that_was_exchanged_for_a_pipe_is_refused(tmp_path, monkeypatch):
    """The file is replaced between the check and the opening."""
    (tmp_path / "a.png").write_bytes(b"x")
    regular = os.stat(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    monkeypatch.setattr(os, "stat", lambda path: regular)
    with pytest.raises(OSError, match="a pipe"):
        within(20, open_regular, tmp_path / "b.png")


def test_the_limit_on_pixels_is_an_option(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((30, 40), np.uint8))
    monkeypatch.setenv(VARIABLE, "1199")
    with pytest.raises(DataError, match=rf"40x30, the limit is 1,199 pixels\).*{VARIABLE}=1200"):
        read_image(path)
    with pytest.raises(DataError, match="too large"):
        read_size(path)
    monkeypatch.setenv(VARIABLE, "1200")
    assert read_image(path).shape == (30, 40, 3)
    for value in ("0", "-1", "2e9", "1e3", str(2**31), "9" * 5000):
        monkeypatch.setenv(VARIABLE, value)
        with pytest.raises(ConfigError, match=VARIABLE) as caught:
            read_image(path)
        assert len(str(caught.value)) < 200


def test_large_microscopy_is_read(tmp_path):
    """8000 x 6000 pixels are read with the default limit."""
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((6000, 8000), np.uint8))
    assert read_size(path) == (6000, 8000)
    assert read_mask(path).shape == (6000, 8000)


def test_a_slide_of_900_million_pixels_is_possible(tmp_path, monkeypatch):
    """Only the header is read, so that the test needs no memory."""
    path = tmp_path / "a.tif"
    path.write_bytes(bombs.tiff(bombs.grey_tags(30_000, 30_000)))
    with pytest.raises(DataError, match=f"{VARIABLE}=900000000"):
        read_size(path)
    monkeypatch.setenv(VARIABLE, "900000000")
    assert read_size(path) == (30_000, 30_000)
