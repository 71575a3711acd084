"""Broken folders: every defect ends in a message that names the file and the fix, or is left out and counted when asked."""

import errno
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from samplug.datasets import BinarySegDataset, DataError
from samplug.datasets.scan import by_suspicion, describe_pairs
from samplug.datasets.scan_cache import SAMPLED
from samplug.imaging import files
from samplug.utils.errors import UserError
from tests.datasets.broken import CONTENTS, NAMES, SHAPE, VICTIM, mask, picture, save, sound_set
from tests.datasets.broken_folders import CASES, IMAGE, MASK, OTHERS

PIPELINE = [dict(type="LoadImage"), dict(type="LoadBinaryMask"), dict(type="PackSegInputs")]
# What is accepted without a word, and why nothing was done about it.
SILENT = {
    "image-jpeg-half-with-end": "libjpeg fills what is missing, and neither OpenCV nor Pillow hands its warning on",
    "mask-jpeg-half-with-end": "as the image",
    "mask-probability-map": "'0/255' cuts every grey mask in the middle, as sets with soft edges need",
    "swapped-grey": "grey photographs as masks are cut like masks with soft edges",
}


def build(root: Path, **options: Any) -> BinarySegDataset:
    # Each serialisation collects garbage, which takes longer than all the rest.
    defaults = dict(data_root=str(root), check="all", pipeline=PIPELINE, serialize_data=False)
    return BinarySegDataset(**{**defaults, **options})


def loaded(dataset: BinarySegDataset) -> list[str]:
    """Names of the pairs, each of which is really read."""
    return [Path(dataset[index]["data_samples"].img_path).stem for index in range(len(dataset))]


def test_the_sound_set_is_sound(tmp_path):
    dataset = build(sound_set(tmp_path))
    assert loaded(dataset) == NAMES
    assert not dataset.skipped


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=SILENT[name], strict=True) if name in SILENT else ())
        for name in CASES
    ],
)
def test_a_broken_case_is_named_or_counted(tmp_path, name):
    case = CASES[name]
    case.damage(sound_set(tmp_path))
    with pytest.raises(UserError) as caught:
        build(tmp_path, **case.options)
    message = str(caught.value)
    for end in case.names:
        assert re.search(re.escape(end) + r"(?![\w/])", message), f"{end!r} is not in: {message}"
    assert re.search(case.says, message, re.DOTALL), message

    if case.left is None:
        with pytest.raises(type(caught.value), match=re.escape(message)):
            build(tmp_path, on_error="skip", **case.options)
        return
    dataset = build(tmp_path, on_error="skip", **case.options)
    assert sorted(loaded(dataset)) == sorted(case.left)
    assert dataset.skipped
    for key, why in dataset.skipped.items():
        assert f"  {key}: {why}" in message
    assert all(end in str(dataset.skipped) for end in case.names)


def test_there_are_enough():
    assert len(CASES) - len(SILENT) >= 40
    assert SILENT.keys() <= CASES.keys()


def test_what_systems_leave_behind_is_no_file_of_the_set(tmp_path):
    sound_set(tmp_path)
    for part in ("images", "masks"):
        for name in (".hidden.png", f"._{VICTIM}.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt"):
            (tmp_path / part / name).write_bytes(b"\0\5\x16\7")
        (tmp_path / part / ".ipynb_checkpoints").mkdir()
        save(tmp_path / part / ".ipynb_checkpoints" / "x.png", mask())
    (tmp_path / "images" / "overlays").mkdir()
    for options in (dict(), dict(on_error="skip")):
        dataset = build(tmp_path, **options)
        assert loaded(dataset) == NAMES
        assert not dataset.skipped


@pytest.mark.parametrize("name", [IMAGE, MASK])
@pytest.mark.parametrize("content", [None, b"", CONTENTS["html"].content])
def test_a_file_that_goes_or_breaks_after_the_check(tmp_path, name, content):
    dataset = build(sound_set(tmp_path))
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{re.escape(name)} .*(restore|download)"):
        dataset[3]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_files_that_the_system_does_not_hand_out(tmp_path, monkeypatch, number):
    sound_set(tmp_path)
    read = files.read_bytes

    def refuse(path, most):
        if path == tmp_path / MASK:
            raise OSError(number, "the system says why")
        return read(path, most)

    monkeypatch.setattr(files, "read_bytes", refuse)
    with pytest.raises(DataError, match=rf"{MASK} cannot be read: the system says why; mend"):
        build(tmp_path)
    dataset = build(tmp_path, on_error="skip")
    assert loaded(dataset) == OTHERS
    assert "the system says why" in dataset.skipped[VICTIM]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(
    ("others", "victim", "says"),
    [
        (255, mask() // 255, rf"{MASK} is a 0/1 mask and .*/p0\.png is not: .*set mask_values"),
        (1, mask(), rf"/p0\.png is a 0/1 mask and .*{MASK} is not: .*set mask_values"),
        (255, (mask() // 255) * 3, rf"{MASK} is a mask of 0, 3 alone and .*/p0\.png is not: .*'skip'"),
        (255, np.dstack([mask(), mask() * 0, mask() * 0]), rf"{MASK} holds colours, mostly .*use mask_values='red'"),
    ],
)
def test_mixtures_leave_nothing_to_guess(tmp_path, others, victim, says, on_error):
    """Which of two kinds a set is of, 'auto' does not say, not even where files may be left out."""
    sound_set(tmp_path)
    for index, name in enumerate(NAMES):
        save(tmp_path / "masks" / f"{name}.png", victim if name == VICTIM else mask(index) // np.uint8(255 // others))
    with pytest.raises(DataError, match=says):
        build(tmp_path, on_error=on_error)
    dataset = build(tmp_path, on_error="skip", mask_values=f"0/{others}")
    assert loaded(dataset) == OTHERS
    assert list(dataset.skipped) == [VICTIM]
    assert MASK in dataset.skipped[VICTIM]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.full(SHAPE, 7, np.uint8), "all ignored"),
        (np.zeros(SHAPE, np.uint8), "empty"),
        (np.full(SHAPE, 255, np.uint8), "foreground over 95%"),
    ],
)
def test_suspicious_masks_are_named(tmp_path, values, what):
    """They may be meant, and are used."""
    save(sound_set(tmp_path) / MASK, values)
    dataset = build(tmp_path, mask_values=dict(foreground=[255], background=[0], ignore=[7]))
    assert len(dataset) == 8
    assert by_suspicion(dataset.facts) == {what: [VICTIM]}
    assert f"1 of the masks {what} ({VICTIM})" in describe_pairs(dataset.facts)


def test_a_broken_file_outside_the_sample_is_named_by_a_loader_of_processes(tmp_path):
    number = SAMPLED + 8
    for index in range(number):
        save(tmp_path / "images" / f"q{index:02}.jpg", picture())
        save(tmp_path / "masks" / f"q{index:02}.png", mask())
    # The sample is seeded: a pair that it leaves out is left out again.
    sampled = build(tmp_path, check="sample", mask_values="0/255")
    index = next(i for i in range(number) if f"q{i:02}" not in sampled.facts)
    path = tmp_path / "images" / f"q{index:02}.jpg"
    path.write_bytes(CONTENTS["jpeg-half"].content)
    dataset = build(tmp_path, check="sample", mask_values="0/255")
    with pytest.raises(DataError, match=rf"{path.name} is a truncated JPEG file: download or copy it again") as caught:
        list(DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=list))
    assert isinstance(caught.value, UserError)
    with pytest.raises(DataError, match=path.name):
        build(tmp_path)
    assert list(build(tmp_path, on_error="skip").skipped) == [path.stem]
