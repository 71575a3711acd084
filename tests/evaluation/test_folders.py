"""Scoring folders: the command, its files, and what it says about broken input."""

import csv
import json
import os

import cv2
import numpy as np
import pytest

from samplug.commands import evaluate_masks
from samplug.commands.run import main
from samplug.evaluation import baselines
from samplug.evaluation.folders import evaluate
from samplug.evaluation.protocols import Overlap, Saliency, Shadow
from samplug.utils.errors import ConfigError, DataError


def truth(index):
    mask = np.zeros((24, 30), bool)
    mask[4 + index : 12 + index, 5:20] = True
    return mask


def prediction(index, seed=0):
    noise = np.random.default_rng([index, seed]).random((24, 30))
    return np.round(255 * (0.7 * truth(index) + 0.3 * noise)).astype(np.uint8)


def labels_of(index, ignore_top):
    """The mask as labels; where the first row is ignored, 255 there."""
    labels = truth(index).astype(np.uint8)
    labels[0] = 255 if ignore_top else labels[0]
    return labels


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


@pytest.fixture
def root(tmp_path):
    for index in range(6):
        write(tmp_path / "gt" / f"{index}.png", truth(index) * np.uint8(255))
        write(tmp_path / "images" / f"{index}.png", cv2.merge([prediction(index)] * 3))
        for seed, name in enumerate("ab"):
            write(tmp_path / name / f"{index}.png", prediction(index, seed))
    return tmp_path


def command(monkeypatch, *arguments):
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    assert main("evaluate", list(map(str, arguments))) == 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("protocol", [Saliency(), Shadow(pooling="image"), Overlap(threshold=0.3)])
def test_equals_the_protocol(root, protocol, workers):
    truths = protocol.find_ground_truths(root / "gt")
    methods = {"a": protocol.find_predictions(str(root / "a"), truths)}
    report = evaluate(methods, truths, protocol, workers=workers)["a"]
    results = {str(index): protocol.score(prediction(index), truth(index)) for index in range(6)}
    assert report.summary == protocol.summarise(list(results.values()))
    assert report.images == {name: result.scores for name, result in results.items()}


@pytest.mark.parametrize(
    ("arguments", "protocol"),
    [
        (["saliency"], Saliency()),
        (["saliency", "--size", "64", "--wf-beta2", "0.3", "--mode", "tssam"], Saliency(64, 0.3, "tssam")),
        (["shadow"], Shadow()),
        (["shadow", "--mode", "tssam"], Shadow(mode="tssam")),
        (["shadow", "--threshold", "0.7", "--pooling", "image"], Shadow(threshold=0.7, pooling="image")),
        (["overlap", "--threshold", "0.2"], Overlap(threshold=0.2)),
    ],
)
def test_command(root, monkeypatch, capsys, arguments, protocol):
    out = root / "new" / "scores.json"
    command(monkeypatch, *arguments, "--pred", root / "a", "--gt", root / "gt", "--out", out, "--csv", root / "s.csv")
    report = json.loads(out.read_text())
    expected = protocol.summarise([protocol.score(prediction(index), truth(index)) for index in range(6)])
    assert report["protocol"] == protocol.name
    assert report["summary"] == expected
    assert set(report["images"]) == set(map(str, range(6)))
    assert report["skipped"] == {}
    lines = list(csv.DictReader((root / "s.csv").open()))
    assert [line["image"] for line in lines] == [*map(str, range(6)), "(all)"]
    assert {name: float(value) for name, value in lines[-1].items() if name != "image"} == expected
    assert f"{expected[protocol.columns[0]]:.2f}"[:4] in capsys.readouterr().out


def test_compare(root, monkeypatch, capsys):
    """Side by side on the images that all methods have, with what changed most."""
    (root / "b" / "3.png").unlink()
    methods = [root / "a", f"second={root / 'b'}", *(f"baseline:{name}" for name in baselines.BASELINES)]
    arguments = ["--compare", *methods, "--gt", root / "gt", "--images", root / "images"]
    with pytest.raises(DataError, match="3: second has no prediction"):
        command(monkeypatch, "saliency", *arguments)
    command(
        monkeypatch, "saliency", *arguments, "--on-error", "skip", "--out", root / "o.json", "--csv", root / "o.csv"
    )
    printed = capsys.readouterr().out
    own = json.loads((root / "o.a.json").read_text())
    assert set(own["images"]) == {"0", "1", "2", "4", "5"}
    assert list(own["skipped"]) == ["3"]
    centre = json.loads((root / "o.centre-prior.json").read_text())
    image = np.zeros((24, 30, 3), np.uint8)
    kept = [index for index in range(6) if index != 3]
    scores = [Saliency().score(baselines.centre_prior(image), truth(index)).scores["S"] for index in kept]
    assert centre["summary"]["S"] == pytest.approx(np.mean(scores))
    gains = {
        str(i): Saliency().score(prediction(i, 1), truth(i)).scores["S"] - own["images"][str(i)]["S"] for i in kept
    }
    most = max(gains, key=gains.get)
    assert f"most gained: {most} ({gains[most]:+.3f})" in printed
    with (root / "o.csv").open() as file:
        assert {"a/S", "second/wF", "grabcut/MAE"} <= set(next(csv.reader(file)))


def test_names_of_methods(root, monkeypatch):
    """A folder with an equals sign, and the one that the command is run in."""
    (root / "a").rename(root / "lr=0.1")
    monkeypatch.chdir(root / "b")
    command(monkeypatch, "overlap", "--pred", "../lr=0.1", "--gt", "../gt")
    command(monkeypatch, "overlap", "--compare", ".", "../lr=0.1", "c=../lr=0.1", "--gt", "../gt", "--out", "../o.json")
    assert {path.name for path in root.glob("o.*")} == {"o.b.json", "o.lr=0.1.json", "o.c.json"}


def test_values_and_kinds(root):
    """0/1 predictions, 16-bit ones, 0/1 truths, ignored pixels, endings and subfolders."""
    for index in range(6):
        write(root / "one" / "sub" / f"{index}_p.png", (prediction(index) > 127).astype(np.uint8))
        write(root / "deep one" / "sub" / f"{index}_p.png", (prediction(index) > 127).astype(np.uint16))
        write(root / "deep" / "sub" / f"{index}_p.png", prediction(index).astype(np.uint16) * 257)
        labels = truth(index).astype(np.uint8)
        write(root / "gt01" / "sub" / f"{index}_m.png", labels)
        labels[0] = 7
        write(root / "ignore" / "sub" / f"{index}_m.png", labels)
    rule = dict(foreground=[1], background=[0], ignore=[7])
    for folder, values in (("gt01", "auto"), ("ignore", rule)):
        protocol = Overlap(mask_values=values)
        truths = protocol.find_ground_truths(root / folder, "_m.png", recursive=True)
        methods = {
            name: protocol.find_predictions(str(root / name), truths, "_p.png") for name in ("one", "deep", "deep one")
        }
        reports = evaluate(methods, truths, protocol)
        for name in methods:
            scores = [Overlap().score(prediction(i), labels_of(i, ignore_top=values == rule)) for i in range(6)]
            assert reports[name].summary["IoU"] == pytest.approx(Overlap().summarise(scores)["IoU"])
    with pytest.raises(DataError, match="ignored pixels"):
        evaluate({"one": methods["one"]}, truths, Saliency())


def damaged(root, name, content):
    path = root / "a" / name
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(path, content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("2.png", None, "2: a has no prediction of this name"),
        ("9.png", np.zeros((24, 30), np.uint8), "9: .*gt has no ground truth of this name"),
        ("2.png", b"", r"2: .*2\.png is empty"),
        ("2.png", b"nothing", r"2: .*2\.png"),
        (
            "2.png",
            np.zeros((24, 31), np.uint8),
            r"2: the prediction .*2\.png is 31x24, its ground truth 30x24: .*--resize",
        ),
        (
            "2.png",
            np.dstack([np.eye(24, 30) * 200] * 2 + [np.eye(24, 30)]).astype(np.uint8),
            r"2\.png is a colour picture",
        ),
    ],
)
def test_what_cannot_be_scored_is_named_or_counted(root, monkeypatch, name, content, message):
    damaged(root, name, content)
    arguments = ["overlap", "--pred", root / "a", "--gt", root / "gt", "--workers", 0, "--out", root / "o.json"]
    with pytest.raises(DataError, match=message):
        command(monkeypatch, *arguments)
    assert not (root / "o.json").exists()
    command(monkeypatch, *arguments, "--on-error", "skip")
    report = json.loads((root / "o.json").read_text())
    assert len(report["skipped"]) == 1
    assert len(report["images"]) == (6 if name == "9.png" else 5)


def test_nothing_to_score_is_an_error(root):
    protocol = Shadow(mode="tssam", mask_values=dict(foreground=[1], background=[0, 255]))
    truths = protocol.find_ground_truths(root / "gt")
    with pytest.raises(DataError, match="none of the 6 images of a has a score; 0: BER as in TS-SAM is not defined"):
        evaluate({"a": protocol.find_predictions(str(root / "a"), truths)}, truths, protocol)


def test_resize(root):
    write(root / "a" / "2.png", cv2.resize(prediction(2), (60, 48)))
    protocol = Overlap(resize=True)
    truths = protocol.find_ground_truths(root / "gt")
    report = evaluate({"a": protocol.find_predictions(str(root / "a"), truths)}, truths, protocol)["a"]
    assert (
        report.images["2"]["IoU"]
        == Overlap().score(cv2.resize(cv2.resize(prediction(2), (60, 48)), (30, 24)), truth(2)).scores["IoU"]
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["overlap", "--pred", "nowhere", "--gt", "gt"], DataError, "nowhere does not exist"),
        (["overlap", "--pred", "a", "--gt", "empty"], DataError, "empty holds no images"),
        (["overlap", "--pred", "other", "--gt", "gt"], DataError, "no prediction .* has the name of a ground truth"),
        (["overlap", "--pred", "baseline:best", "--gt", "gt"], ConfigError, "no baseline 'best'; there are constant"),
        (["overlap", "--pred", "baseline:grabcut", "--gt", "gt"], ConfigError, "--images"),
        (["overlap", "--compare", "a", "a", "--gt", "gt"], ConfigError, "two methods are called a"),
        (["overlap", "--compare", "x/y=a", "--gt", "gt"], ConfigError, "'x/y' has a slash"),
        (["overlap", "--pred", "a", "--gt", "gt", "--out", "b"], ConfigError, "b is a folder: name a file"),
        (["overlap", "--pred", "a", "--gt", "gt", "--csv", "a/1.png/x.csv"], ConfigError, "cannot be made"),
        (["saliency", "--pred", "a", "--gt", "gt", "--size", "big"], ConfigError, "--size big"),
        (["saliency", "--pred", "a", "--gt", "gt", "--size", "²"], ConfigError, "--size ²"),
        (["overlap", "--pred", "a", "--gt", "gt", "--mask-values", "{[1]: 2}"], ConfigError, "--mask-values"),
        (["overlap", "--pred", "a", "--gt", "gt", "--threshold", "1.5"], ConfigError, "threshold=1.5"),
        (["overlap", "--pred", "a", "--gt", "gt", "--mask-values", "dict(foreground=x)"], ConfigError, "--mask-values"),
        (["shadow", "--pred", "a", "--gt", "gt", "--mode", "tssam", "--threshold", "0.4"], ConfigError, "125/255"),
    ],
)
def test_wrong_arguments(root, monkeypatch, arguments, error, message):
    (root / "empty").mkdir()
    write(root / "other" / "x.png", truth(0) * np.uint8(255))
    monkeypatch.chdir(root)
    with pytest.raises(error, match=message):
        command(monkeypatch, *arguments)


@pytest.mark.parametrize("name", baselines.BASELINES)
@pytest.mark.parametrize("shape", [(40, 60), (1, 1), (3, 200)])
def test_baselines(name, shape):
    """The right shape, the same twice, and sound on flat images."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    image[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = (0, 0, 255)
    for picture in (image, np.full_like(image, 90)):
        first, second = baselines.BASELINES[name](picture), baselines.BASELINES[name](picture)
        assert first.dtype == np.uint8
        assert first.shape == shape
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["spectral-residual", "grabcut"])
def test_baselines_find_what_stands_out(name):
    image = np.random.default_rng(0).integers(90, 110, (80, 120, 3)).astype(np.uint8)
    image[30:50, 50:75] = (60, 80, 250)  # other in colour and in brightness
    found = baselines.BASELINES[name](image)
    assert found[28:52, 48:77].mean() > 3 * found.mean()


def test_files_are_written_before_anything_is_printed(root, monkeypatch, capsys):
    """If a file cannot be written, the other file is written and the table is printed."""
    words = ["overlap", "--pred", root / "a", "--gt", root / "gt", "--workers", "0", "--out", root / "s.json"]
    (root / "file").write_text("")
    monkeypatch.setattr(evaluate_masks, "check_writable", lambda _: None)  # the disk fills up while it is scored
    arguments = [*words[:-1], root / "file/s.json", "--csv", root / "s.csv"]
    assert main("evaluate", list(map(str, arguments))) == 1
    printed = capsys.readouterr()
    assert "| method |" in printed.out
    assert "file/s.json cannot be written" in printed.err
    assert (root / "s.csv").is_file()

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_masks, "_print", dies)
    assert main("evaluate", list(map(str, words))) == 130
    assert len(json.loads((root / "s.json").read_text())["images"]) == 6


def test_names_that_are_no_text(root):
    """Names from old archives: the report is UTF-8, with bytes as escapes."""
    name = os.fsdecode(b"caf\xe9")
    for folder in ("a", "gt"):
        (root / folder / "0.png").rename(root / folder / f"{name}.png")
    words = ["overlap", "--pred", root / "a", "--gt", root / "gt", "--workers", "0", "--csv", root / "s.csv"]
    assert main("evaluate", list(map(str, [*words, "--out", root / "s.json"]))) == 0
    assert "caf\\udce9," in (root / "s.csv").read_text(encoding="utf-8")
    assert name in json.loads((root / "s.json").read_text(encoding="utf-8"))["images"]
