"""Reports of linear probes from what their tests leave."""

import csv
import json

import cv2
import numpy as np
import pytest

from samplug.commands import report_probe
from samplug.commands.probe_runs import read_probe
from samplug.commands.run import main
from samplug.evaluation.protocols import TopK
from samplug.evaluation.published_probes import published_probes
from samplug.evaluation.report import Report
from samplug.utils.errors import ConfigError, DataError

NAMES = ("ant", "bee", "cat")
DINOV2 = dict(type="DINOv2ViT", arch="vits14")
TEST_SET = dict(type="ImageFolderDataset", name="test", length=6, facts="3 classes, 2 images each; 6 read")


def results():
    """Two images of each class; those of cats are taken for bees."""
    protocol = TopK((1, 2), NAMES)
    predicted = {"ant": [0, 0], "bee": [1, 0], "cat": [1, 1]}
    return Report.of(
        protocol,
        {
            f"{name}/{index}.jpg": protocol.score(np.eye(3)[found], NAMES.index(name))
            for name, of in predicted.items()
            for index, found in enumerate(of)
        },
    )


def write_test(
    folder, scores, time="20260101_000000", backbone=DINOV2, test=TEST_SET, outcome="finished", out_file=None
):
    """What tools/test.py leaves in a work directory."""
    place = folder / time
    (place / "vis_data").mkdir(parents=True)
    readout = dict(source="trunk", poolings=["cls", "mean"])
    metric = dict(type="TopKAccuracy", out_file=None if out_file is None else str(out_file))
    cfg = f"model = {dict(type='LinearProbe', backbone=backbone, readout=readout)!r}\ntest_evaluator = [{metric!r}]\n"
    (place / "vis_data/config.py").write_text(cfg)
    record = dict(data=dict(test=test), runs=[dict(kind="test", outcome=outcome)])
    (place / "run.json").write_text(json.dumps(record))
    (place / f"{time}.json").write_text(json.dumps({**scores, "data_time": 0.1, "time": 0.2}))


@pytest.fixture
def work_dir(tmp_path):
    report = results()
    folder = tmp_path / "ours"
    write_test(folder, report.summary, out_file=folder / "scores.json")
    report.write_json(folder / "scores.json")
    content = json.loads((folder / "scores.json").read_text()) | dict(head="classifier_mean_lr_0_10000")
    (folder / "scores.json").write_text(json.dumps(content))
    return folder


def test_report(work_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    knn = tmp_path / "neighbours"
    write_test(knn, {"knn_top1@20": 80.0})
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    assert main("report-probe", [str(work_dir), f"k-NN={knn}", str(nothing), "--out-dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    head = ["probe", "encoder", "readout", "head", "images", "top1", "top2", "mean_per_class", "knn_top1@20"]
    assert sorted(rows[0]) == sorted(head)
    found = dict(zip(rows[0], rows[2], strict=True))
    expected = dict(
        encoder="DINOv2ViT vits14", readout="trunk: cls, mean", head="classifier_mean_lr_0_10000", images="6"
    )
    assert found.items() >= dict(expected, probe="ours", top1="50.00", mean_per_class="50.00").items()
    assert found["knn_top1@20"] == "-"
    assert (
        dict(zip(rows[0], rows[3], strict=True)).items()
        >= {"probe": "k-NN", "head": "", "knn_top1@20": "80.00"}.items()
    )
    expected = (["cat", "0.00"], ["ant", "100.00"], ["cat, taken for bee", "2"], ["bee, taken for ant", "1"])
    assert all(row in rows for row in expected)
    assert f"note: {nothing} has no finished test" in printed
    assert "published" not in printed
    assert all(path.name in printed.splitlines()[-1] for path in (tmp_path / "out").iterdir())

    report = json.loads((tmp_path / "out/probes.json").read_text())
    assert report["runs"]["ours"]["classes"]["bee"] == {"images": 2, "top1": 50.0, "top2": 100.0}
    with open(tmp_path / "out/classes.csv") as file:
        assert [(row["class"], row["top1"]) for row in csv.DictReader(file)] == [
            ("ant", "100.0"), ("bee", "50.0"), ("cat", "0.0"),
        ]  # fmt: skip
    with open(tmp_path / "out/confusions.csv") as file:
        assert next(csv.DictReader(file)) == {"run": "ours", "class": "cat", "predicted": "bee", "images": "2"}
    with open(tmp_path / "out/probes.csv") as file:
        assert [(row["run"], row["top1"]) for row in csv.DictReader(file)] == [("ours", "50.0"), ("k-NN", "")]
    assert cv2.imread(str(tmp_path / "out/probes.png")) is not None


IMAGENET = dict(type="ImageFolderDataset", name="ImageNet-1k val", length=50000, facts="1000 classes, 50 images each")
BANK = dict(type="ImageFolderDataset", name="imagenet bank", length=1281167, facts="1000 classes")


@pytest.mark.parametrize(
    ("test", "shown"),
    [
        (IMAGENET, True),
        (dict(type="ConcatDataset", datasets=[BANK, IMAGENET]), True),
        (TEST_SET, False),
        (IMAGENET | dict(length=49999), False),
        (IMAGENET | dict(facts="100 classes, 500 images each"), False),
        (IMAGENET | dict(name="test"), False),
        (BANK, False),
    ],
)
def test_published_scores_are_shown_for_the_same_images_alone(tmp_path, test, shown):
    write_test(tmp_path, {"top1": 75.0}, test=test)
    run = read_probe(tmp_path, "ours")
    assert bool(run.published) == shown
    assert ("published" in report_probe.runs_table([run], {})) == shown
    if shown:
        assert run.images == 50000
        assert run.published["SAMantics, published"] == {"top1": 77.43, "top5": 93.78}
        assert run.published["DINOv2, published"] == {"top1": 81.1, "knn_top1": 79.0}


def test_published_scores_are_those_of_the_encoder(tmp_path):
    assert published_probes("SAMViT", "vit_b") == {"SAMantics, published": {"top1": 11.06, "top5": 25.37}}
    assert published_probes("DINOv2ViT", "vitg14_reg4")["DINOv2, published"]["top1"] == 87.1
    own_size = dict(type="DINOv2ViT", arch=dict(embed_dims=48, depth=3))
    write_test(tmp_path, {"top1": 75.0}, test=IMAGENET, backbone=dict(type="CachedEncoder", encoder=own_size))
    run = read_probe(tmp_path)
    assert run.encoder == "DINOv2ViT 3 x 48"
    assert not run.published


def test_the_later_test_counts(work_dir):
    write_test(work_dir, {"top1": 60.0, "mean_per_class": 60.0}, "20260102_000000", out_file=work_dir / "scores.json")
    write_test(work_dir, {"top1": 1.0}, "20260103_000000", outcome="KeyboardInterrupt")
    write_test(work_dir, {"loss": 1.0}, "20260104_000000")
    run = read_probe(work_dir)
    assert run.scores["top1"] == 60
    assert any("scores.json is from another test" in note for note in run.notes)
    assert not run.classes
    report = results()
    write_test(work_dir, report.summary, "20260105_000000", out_file=work_dir / "scores.json")
    run = read_probe(work_dir)
    assert (run.classes["cat"]["top1"], run.notes) == (0, [])


def test_scores_moved_with_the_work_directory(work_dir, tmp_path):
    moved = work_dir.rename(tmp_path / "moved")
    assert read_probe(moved).classes["cat"]["top1"] == 0


def test_without_a_file_of_scores_the_report_says_how_to_get_one(tmp_path):
    write_test(tmp_path / "a", {"top1": 50.0})
    (note,) = read_probe(tmp_path / "a").notes
    assert f"test_evaluator.0.out_file={tmp_path / 'a' / 'scores.json'}" in note


def test_mistakes(work_dir, tmp_path):
    with pytest.raises(DataError, match="none is no folder: name a work directory"):
        report_probe._read([str(tmp_path / "none")])
    (tmp_path / "trained").mkdir()
    with pytest.raises(DataError, match=r"no finished test with top-1 or k-NN .*CHECKPOINT --work-dir \S+trained"):
        report_probe._read([str(tmp_path / "trained")])
    with pytest.raises(ConfigError, match="two runs are called 'ours': name them"):
        report_probe._read([str(work_dir), str(work_dir)])
    (work_dir / "scores.json").write_text(json.dumps(dict(protocol="saliency", summary={})))
    with pytest.raises(DataError, match=r"scores\.json has no scores of TopKAccuracy"):
        report_probe._read([str(work_dir)])
    (work_dir / "scores.json").write_text("{")
    with pytest.raises(DataError, match=r"scores\.json is not JSON"):
        report_probe._read([str(work_dir)])


def test_baselines_need_a_set_of_classes():
    with pytest.raises(ConfigError, match=r"0 train sets of the type ImageFolderDataset, --baselines needs one"):
        report_probe._baselines("quickstart", {})
