"""What belongs to a folder of images: one rule for datasets, predictions and scores."""

import cv2
import numpy as np
import pytest

from samplug.datasets import BinarySegDataset
from samplug.evaluation.protocols.base import list_samples
from samplug.imaging import listing
from samplug.imaging.files import read_image
from samplug.imaging.listing import list_files
from samplug.imaging.sources import find_sources
from samplug.utils.errors import DataError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.fixture
def notes(monkeypatch):
    found = []
    monkeypatch.setattr(listing, "print_log", lambda text, *_: found.append(text))
    listing._log_once.cache_clear()
    return found


def test_what_systems_leave_behind_is_passed_over(tmp_path, notes):
    touch(tmp_path / "a.png", tmp_path / "sub" / "b.jpg")
    for folder in (tmp_path, tmp_path / "sub"):
        for name in ("._a.png", ".a.png", "Thumbs.db", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png",
                     "__MACOSX/sub/._b.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/x.png", ".git/x.png"):  # fmt: skip
            touch(folder / name)
    assert list(list_files(tmp_path, recursive=True)[0]) == ["a", "sub/b"]
    assert list(list_files(tmp_path)[0]) == ["a"]
    assert not list_files(tmp_path, recursive=True)[1]
    assert not notes
    assert list(list_files(tmp_path / ".ipynb_checkpoints")[0]) == ["a-checkpoint"]  # named by the user


def test_links_to_folders_are_followed_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("own/a", "disk/b"):
        for kind in ("images", "masks"):
            path = (
                tmp_path
                / ("set" if name[0] == "o" else "")
                / (f"{kind}/{name}.png" if name[0] == "o" else f"disk/{kind}/b.png")
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            values = rng.integers(0, 2, (16, 16)) * 255 if kind == "masks" else rng.integers(0, 255, (16, 16, 3))
            cv2.imwrite(str(path), values.astype(np.uint8))
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind / "linked").symlink_to(tmp_path / "disk" / kind)
    names = ["linked/b", "own/a"]
    dataset = BinarySegDataset(data_root=str(tmp_path / "set"), recursive=True, pipeline=[])
    assert sorted(dataset.facts) == names
    assert sorted(list_samples(tmp_path / "set/masks", None, True)) == names
    assert sorted(source.name for source in find_sources(tmp_path / "set/images", recursive=True)) == names
    with pytest.raises(DataError, match="recursive=True"):
        BinarySegDataset(data_root=str(tmp_path / "set"), pipeline=[])


def test_links_in_circles_end(tmp_path, notes):
    touch(tmp_path / "a.png", tmp_path / "sub" / "b.png")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "gone").symlink_to("nowhere")
    assert list(list_files(tmp_path, recursive=True)[0]) == ["a", "sub/b"]
    assert len(notes) == 2
    assert all("is a link to a folder above it" in note for note in notes)


def test_links_that_multiply_folders_are_an_error(tmp_path):
    """2**40 paths."""
    for level in range(40):
        (tmp_path / "f" / str(level)).mkdir(parents=True)
    for level in range(39):
        for name in "ab":
            (tmp_path / "f" / str(level) / name).symlink_to(tmp_path / "f" / str(level + 1))
    with pytest.raises(DataError, match="lead to one folder in more than 16 ways"):
        list_files(tmp_path / "f", recursive=True)


def test_pictures_that_are_not_read_are_named_once(tmp_path, notes):
    touch(*(tmp_path / name for name in ("a.png", "b.HEIC", "c.pgm", "d.jp2", "notes.txt", "e.json", "sub/f.avif")))
    for _ in range(2):
        assert list(list_files(tmp_path)[0]) == ["a"]
    (note,) = notes
    assert "3 pictures" in note
    assert "b.HEIC, c.pgm, d.jp2" in note
    list_files(tmp_path, recursive=True)
    assert "sub/f.avif" in notes[1]
    list_files(tmp_path, ".png")  # the user chose
    assert len(notes) == 2


def test_notes_are_short_and_printable(tmp_path, notes):
    for index in range(99):
        (tmp_path / f"caf\udce9\n{index:02}{'x' * 200}.heic").write_bytes(b"x")
    list_files(tmp_path)
    assert "99 pictures" in notes[0]
    notes[0].encode()
    assert len(notes[0].splitlines()) == 1
    assert len(notes[0]) <= 800


def test_a_check_remarks_what_is_left_out(tmp_path, notes):
    """The check reports left out files itself, since its logger shows only errors."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), np.eye(8, dtype=np.uint8) * 255)
    touch(tmp_path / "images" / "b.heic")
    for _ in range(2):
        found = BinarySegDataset.check_files(dict(type="BinarySegDataset", data_root=str(tmp_path)))
        assert any("b.heic" in remark for remark in found.remarks)
    assert not notes


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JFIF"])
def test_other_endings_of_jpeg_are_read(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "a.jpg").rename(tmp_path / f"a.{suffix}")
    (source,) = find_sources(tmp_path)
    assert read_image(source.path).shape == (8, 8, 3)


def test_a_folder_of_many_files_is_looked_at_once(tmp_path, monkeypatch):
    touch(*(tmp_path / f"{index}.png" for index in range(50)), tmp_path / "sub" / "a.png")
    looked, identity = [], listing._identity
    monkeypatch.setattr(listing, "_identity", lambda folder: looked.append(str(folder)) or identity(folder))
    assert len(list_files(tmp_path)[0]) == 50
    assert looked == [str(tmp_path)]
    looked.clear()
    assert len(list_files(tmp_path, recursive=True)[0]) == 51
    assert looked == [str(tmp_path), str(tmp_path / "sub")]


def test_many_problems_of_a_folder_are_lines(tmp_path):
    touch(*(tmp_path / f"{index}.{suffix}" for index in range(40) for suffix in ("png", "jpg")))
    with pytest.raises(DataError, match="evaluate: 80 problems in") as found:
        list_samples(tmp_path, None, recursive=False)
    lines = str(found.value).splitlines()
    assert len(lines) == 22
    assert lines[-1].strip() == "and 60 more"
    assert max(map(len, lines)) < 400


def test_a_hidden_folder_is_no_reason_to_look_into_subfolders(tmp_path):
    touch(tmp_path / ".ipynb_checkpoints" / "a.png")
    with pytest.raises(DataError, match=r"holds no images: name another folder$"):
        list_samples(tmp_path, None, recursive=False)
