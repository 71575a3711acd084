"""Broken predictions and truths: named with their fix, or left out and counted when asked."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samplug.commands.run import main
from samplug.utils.errors import UserError
from tests.datasets.broken import CONTENTS, NAMES, SHAPE, VICTIM, mask, picture, save

OTHERS = [name for name in NAMES if name != VICTIM]
# libjpeg fills what is missing and tells nobody, see tests/datasets/test_broken_cases.py.
NOT_SEEN = "jpeg-half-with-end"


@pytest.fixture
def root(tmp_path):
    """Eight truths and predictions of them."""
    for index, name in enumerate(NAMES):
        save(tmp_path / "gt" / f"{name}.png", mask(index))
        save(tmp_path / "pred" / f"{name}.png", np.maximum(mask(index) // 2, mask(index + 1) // 3))
    return tmp_path


def evaluate(root: Path, monkeypatch, *arguments: Any) -> int:
    """The command's exit code."""
    words = [
        "overlap",
        "--pred",
        root / "pred",
        "--gt",
        root / "gt",
        "--workers",
        0,
        "--out",
        root / "out.json",
        *arguments,
    ]
    return main("evaluate", list(map(str, words)))


def check(root: Path, monkeypatch, capsys, name: str, says: str, left: list[str], *arguments: Any) -> None:
    """It stops with a message and writes nothing; and goes on without the file, and says so, when asked."""
    monkeypatch.delenv("SAMPLUG_TRACEBACK", raising=False)
    assert evaluate(root, monkeypatch, *arguments) == 1
    message = capsys.readouterr().err
    assert name in message
    assert re.search(says, message, re.DOTALL), message
    assert "--on-error skip" in message
    assert not (root / "out.json").exists()

    assert evaluate(root, monkeypatch, "--on-error", "skip", *arguments) == 0
    report = json.loads((root / "out.json").read_text())
    assert list(report["images"]) == left
    assert len(report["skipped"]) == 1
    ((key, why),) = report["skipped"].items()
    assert f"  {key}: {why}" in message
    printed = capsys.readouterr().out
    assert "pred: 1 skipped" in printed
    assert f"{key}: {why}" in printed


@pytest.mark.parametrize("folder", ["pred", "gt"])
@pytest.mark.parametrize("name", [name for name in CONTENTS if name != NOT_SEEN])
def test_files_that_cannot_be_read(root, monkeypatch, capsys, folder, name):
    broken = CONTENTS[name]
    (root / folder / f"{VICTIM}.png").unlink()
    (root / folder / f"{VICTIM}{broken.suffix}").write_bytes(broken.content)
    check(root, monkeypatch, capsys, f"{folder}/{VICTIM}{broken.suffix}", broken.says, OTHERS)


def written(name: str, values: np.ndarray) -> Callable[[Path], None]:
    return lambda root: save(root / name, values)


LABELS = (mask() // 255) * 3
VALUES = {
    "no-prediction": (lambda root: (root / "pred/p3.png").unlink(), "p3: ", "no prediction of this name", OTHERS),
    "no-truth": (lambda root: (root / "gt/p3.png").unlink(), "p3: ", "no ground truth of this name", OTHERS),
    "stray": (written("pred/p9.png", mask()), "p9: ", "no ground truth of this name", NAMES),
    "prediction-size": (written("pred/p3.png", mask()[:-1]), "pred/p3.png", "48x35.*48x36: .*pass --resize", OTHERS),
    "prediction-colours": (written("pred/p3.png", picture()), "pred/p3.png", "colour picture: save grey", OTHERS),
    "prediction-in-alpha": (
        written("pred/p3.png", np.dstack([np.zeros((*SHAPE, 3), np.uint8), mask()])), "pred/p3.png", "save that channel", OTHERS
    ),
    "truth-01": (written("gt/p3.png", mask() // 255), "gt/p3.png", "contains 0/1.*set mask_values", OTHERS),
    "truth-labels": (written("gt/p3.png", LABELS), "gt/p3.png", "mask_values=dict", OTHERS),
    "truth-colours": (written("gt/p3.png", picture()), "gt/p3.png", "holds colours.*mask_values", OTHERS),
    "truth-16-bit": (written("gt/p3.png", mask().astype(np.uint16)), "gt/p3.png", "16-bit mask.*mask_values", OTHERS),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_files_that_cannot_be_scored(root, monkeypatch, capsys, case):
    damage, name, says, left = VALUES[case]
    damage(root)
    check(root, monkeypatch, capsys, name, says, left, "--mask-values", "0/255")


def test_one_prediction_above_one(root, monkeypatch, capsys):
    """Predictions of 0 and 1 are taken as 0 and 255; one outside of the sample that is not, is an error."""
    for index in range(70):
        save(root / "gt" / f"q{index:02}.png", mask())
        save(root / "pred" / f"q{index:02}.png", mask() // 255)
    for name in NAMES:
        (root / "gt" / f"{name}.png").unlink()
        (root / "pred" / f"{name}.png").unlink()
    save(root / "pred" / "q01.png", mask())
    left = [f"q{index:02}" for index in range(70) if index != 1]
    check(root, monkeypatch, capsys, "pred/q01.png", "values up to 255 among predictions of 0 and 1: save", left)


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: save(root / "pred/p3.bmp", mask()), r"pred/p3\.(png|bmp) has the same name.*rename or remove"),
        (lambda root: save(root / "gt/p3.bmp", mask()), r"gt/p3\.(png|bmp) has the same name.*rename or remove"),
        (
            lambda root: (root / "pred").rename(root / "other"),
            "pred does not exist; .* contains gt, other: correct its path",
        ),
        (
            lambda root: [path.unlink() for path in (root / "pred").iterdir()],
            "pred holds no images.*name another folder",
        ),
        (
            lambda root: [path.write_bytes(b"") for path in (root / "pred").iterdir()],
            r"8 files.*p0\.png is empty.*remove",
        ),
        (
            lambda root: [path.write_bytes(b"") for path in (root / "gt").iterdir()],
            r"8 files.*p0\.png is empty.*remove",
        ),
        (
            lambda root: save(root / "gt/p3.png", mask() // 255),
            r"gt/p3\.png is a 0/1 mask and .* is not: .*mask.values",
        ),
        (
            lambda root: save(root / "gt/p3.png", LABELS),
            r"gt/p3\.png is a mask of 0, 3 alone and .* is not: .*mask.values",
        ),
    ],
)
def test_nothing_to_go_on_with(root, monkeypatch, capsys, damage, says, on_error):
    damage(root)
    assert evaluate(root, monkeypatch, "--on-error", on_error) == 1
    message = capsys.readouterr().err
    assert re.search(says, message, re.DOTALL), message
    assert not (root / "out.json").exists()


def test_processes_tell_the_same(root, monkeypatch, capsys):
    (root / "pred" / f"{VICTIM}.png").write_bytes(CONTENTS["html"].content)
    check(root, monkeypatch, capsys, f"pred/{VICTIM}.png", CONTENTS["html"].says, OTHERS, "--workers", 2)


def test_all_methods_are_scored_on_the_same_images(root, monkeypatch):
    """What one cannot be scored on, is left out of the other and counted there too."""
    for index, name in enumerate(NAMES):
        save(root / "better" / f"{name}.png", mask(index))
    (root / "pred" / f"{VICTIM}.png").write_bytes(b"")
    words = [
        "overlap",
        "--compare",
        root / "pred",
        root / "better",
        "--gt",
        root / "gt",
        "--workers",
        0,
        "--out",
        root / "out.json",
    ]
    words = list(map(str, words))
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    with pytest.raises(UserError, match=rf"1 files of pred .*\n.*{VICTIM}\.png is empty"):
        main("evaluate", words)
    assert main("evaluate", [*words, "--on-error", "skip"]) == 0
    for name, why in (("pred", "is empty"), ("better", "left out: another method")):
        report = json.loads((root / f"out.{name}.json").read_text())
        assert list(report["images"]) == OTHERS
        assert list(report["skipped"]) == [VICTIM]
        assert why in report["skipped"][VICTIM]
