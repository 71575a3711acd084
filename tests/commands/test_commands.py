"""The commands as a user types them."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from samplug.evaluation.functional import SaliencyCounts, s_measure
from tests.conftest import ROOT
from tests.processes import run_python

TINY = ["max_iters=2", "train_length=8", "test_length=4", "data_size=48", "img_size=32", "num_workers=0",
        "train_dataloader.batch_size=2"]  # fmt: skip


def command(*arguments, ok=True, forked=True):
    """``forked=False`` starts an interpreter, as a user does."""
    if forked:
        run = run_python(*arguments, cwd=ROOT)
    else:
        run = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode == 0) == ok, run.stdout[-2000:] + run.stderr[-2000:]
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    options = ["--work-dir", out, "--device", "cpu", "--cfg-options", *TINY]
    command("tools/train.py", "configs/quickstart.py", *options, forked=False)
    return out


def test_declared_variables_take_effect(trained):
    text = (trained / "quickstart.py").read_text()
    assert "img_size=32" in text
    assert "max_iters=2" in text
    state = torch.load(trained / "iter_2.pth", weights_only=False)["state_dict"]
    assert state["backbone.pos_embed"].shape[1:3] == (4, 4)


def test_test_scores_what_it_saves(trained, tmp_path):
    report = tmp_path / "scores.json"
    command("tools/test.py", "configs/quickstart.py", trained / "iter_2.pth", "--work-dir", tmp_path, "--out", tmp_path / "masks",
            "--show-dir", tmp_path / "overlays", "--cfg-options", *TINY, f"test_evaluator.0.out_file={report}",
            "train_dataloader=None", "optim_wrapper=None", forked=False)  # fmt: skip
    scores = json.loads(report.read_text())
    assert scores["protocol"] == "saliency"
    assert len(scores["images"]) == 4
    assert scores["skipped"] == {}
    from samplug.datasets.synthetic import camouflage_scene

    for index, (name, values) in enumerate(scores["images"].items()):
        pred = cv2.imread(str(tmp_path / "masks" / name), cv2.IMREAD_GRAYSCALE)
        assert values["S"] == pytest.approx(
            s_measure(SaliencyCounts.of(pred, camouflage_scene(1000, index, 48)[1] > 0)), abs=1e-12
        )
        assert cv2.imread(str(tmp_path / "overlays" / name)).shape == (48, 48, 3)
    assert scores["summary"]["S"] == pytest.approx(np.mean([v["S"] for v in scores["images"].values()]))


TTA = """
_base_ = {base!r}
test_dataloader = dict(batch_size=3, dataset=dict(_delete_=True, type='ConcatDataset', datasets=[_base_.test_dataset]))
"""


def test_test_time_augmentation(trained, tmp_path):
    """Of a set within another, in batches larger than the number of views; what is scored is what is saved."""
    config, report = tmp_path / "tta.py", tmp_path / "scores.json"
    config.write_text(TTA.format(base=str(ROOT / "configs/quickstart.py")))
    command("tools/test.py", config, trained / "iter_2.pth", "--tta", "--work-dir", tmp_path, "--out", tmp_path / "masks",
            "--show-dir", tmp_path / "overlays", "--cfg-options", *TINY, "tta_flips=[horizontal,vertical]", f"test_evaluator.0.out_file={report}")  # fmt: skip
    from samplug.datasets.synthetic import camouflage_scene

    scores = json.loads(report.read_text())["images"]
    assert len(scores) == 4
    for index, (name, values) in enumerate(scores.items()):
        pred = cv2.imread(str(tmp_path / "masks" / name), cv2.IMREAD_GRAYSCALE)
        expected = s_measure(SaliencyCounts.of(pred, camouflage_scene(1000, index, 48)[1] > 0))
        assert values["S"] == pytest.approx(expected, abs=1e-12)
        assert cv2.imread(str(tmp_path / "overlays" / name)).shape == (48, 48, 3)


def test_resume_from_the_command_line(trained):
    options = ["max_iters=3", *TINY[1:]]
    run = command(
        "tools/train.py", "configs/quickstart.py", "--work-dir", trained, "--resume", "--cfg-options", *options
    )
    assert "resumed epoch: 0, iter: 2" in run.stdout + run.stderr
    assert (trained / "last_checkpoint").read_text().endswith("iter_3.pth")


def test_quickstart_writes_table_and_pictures(tmp_path):
    run = command("tools/quickstart.py", "--out-dir", tmp_path, "--cfg-options", *TINY)
    table = json.loads((tmp_path / "results.json").read_text())
    assert list(table) == ["TS-SAM, trained here", "TS-SAM, untrained", "centre prior", "constant 0"]
    for method, scores in table.items():
        assert method in run.stdout
        assert set(scores) >= {"S", "MAE", "IoU"}
    assert cv2.imread(str(tmp_path / "comparison.png")) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tools/train.py", "ts-sam_vit-b_4xb2-cod"], "did you mean ts-sam_sam-vit-b_4xb2-80e_cod-1024"),
        (["tools/train.py", "configs/none.py"], "config: configs/none.py does not exist"),
        (["tools/train.py", "configs/quickstart.py", "--cfg-options", "max_iter=2"], "did you mean max_iters"),
        (["tools/train.py", "configs/quickstart.py", "--cfg-options", "max_iters=many"], "declares max_iters"),
        (["tools/train.py", "configs/quickstart_folder.py", "--cfg-options", "data_root=/nowhere"], "/nowhere/images does not exist"),
        (["tools/test.py", "configs/quickstart.py", "none.pth"], "none.pth does not exist"),
        (["tools/test.py", "configs/quickstart.py", "none"], "name a checkpoint"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_message(tmp_path, arguments, message):
    options = arguments if "--cfg-options" not in arguments else [*arguments]
    run = (
        command(*options[:3], "--work-dir", tmp_path, *options[3:], ok=False)
        if arguments[0].endswith("test.py")
        else command(*options[:2], "--work-dir", tmp_path, *options[2:], ok=False)
    )
    assert message in run.stderr
    assert "Traceback" not in run.stderr
