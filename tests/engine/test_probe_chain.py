"""Linear probes of all families of encoders from folders of classes to a report: in two processes, killed and resumed."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from samplug.apis import Inferencer, Predictor, init_model
from samplug.commands.common import build_runner
from samplug.commands.run import main
from samplug.engine.hooks.head_selection import META_KEY
from samplug.utils.errors import ConfigError
from tests.engine.probe_chain import ENCODERS, chain_cfg
from tests.ranks import run_ranks

# Images of each class; one of train is for validation, so that two processes have equal shares.
PARTS = {"train": 9, "val": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Noisy images of three classes that differ in colour."""
    root = tmp_path_factory.mktemp("classes")
    for part, number in PARTS.items():
        for label, name in enumerate(("blue", "green", "red")):
            (root / part / name).mkdir(parents=True)
            for index in range(number):
                image = np.random.default_rng((label, index, number)).integers(0, 160, (40, 48, 3), np.uint8)
                image[..., label] += 90
                cv2.imwrite(str(root / part / name / f"{index}.jpg"), image)
    return root


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    """Work directory of a training in two processes."""
    work_dir = tmp_path_factory.mktemp("unbroken")
    run_ranks("tests.engine.probe_chain", "dinov2-vits14", folders, work_dir, "train")
    return work_dir


def checkpoint(path):
    return torch.load(path, weights_only=False)


def test_killed_and_resumed_in_two_processes(folders, trained, tmp_path):
    """Killed in the second epoch, the run ends with the same heads and the same choice."""
    with pytest.raises(AssertionError, match="ended with -9"):
        run_ranks("tests.engine.probe_chain", "dinov2-vits14", folders, tmp_path, "kill=1")
    assert not (tmp_path / "epoch_2.pth").exists()
    run_ranks("tests.engine.probe_chain", "dinov2-vits14", folders, tmp_path, "resume")
    whole, resumed = (checkpoint(folder / "epoch_2.pth") for folder in (trained, tmp_path))
    assert whole["meta"][META_KEY] == resumed["meta"][META_KEY]
    assert resumed["state_dict"].keys() == whole["state_dict"].keys()
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in resumed["state_dict"].items())


def test_two_processes_train_as_one(folders, trained, tmp_path):
    """Also the batch norm: each process has half of the images of a step."""
    build_runner(chain_cfg("dinov2-vits14", folders, tmp_path)).train()
    one, two = (checkpoint(folder / "epoch_2.pth") for folder in (tmp_path, trained))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-5)


def test_two_processes_test_as_one(folders, trained, tmp_path):
    """Nine images: each is scored once. The head is the one that the training has chosen."""
    weights = trained / "epoch_2.pth"
    run_ranks("tests.engine.probe_chain", "dinov2-vits14", folders, tmp_path / "two", f"test={weights}")
    build_runner(chain_cfg("dinov2-vits14", folders, tmp_path / "one", str(weights))).test()
    one, two = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert len(one["images"]) == 3 * PARTS["val"]
    assert one["head"] == checkpoint(weights)["meta"][META_KEY]["head"]


def test_a_probe_predicts_no_masks(folders, tmp_path):
    cfg = chain_cfg("dinov2-vits14", folders, tmp_path, learning_rates=[0.1], poolings=["cls"], num_classes=3)
    model = init_model(cfg, "untrained", device="cpu")
    with pytest.raises(ConfigError, match=r"predict: LinearProbe predicts classes, no masks: tools/test\.py writes"):
        Inferencer(model)(folders / "val/red/0.jpg")
    with pytest.raises(ConfigError, match="Predictor: LinearProbe predicts no masks for clicks"):
        Predictor(model)


def test_number_of_classes_is_that_of_the_folders(folders, tmp_path):
    cfg = chain_cfg("dinov2-vits14", folders, tmp_path)
    assert cfg.model.num_classes is None
    runner = build_runner(cfg)
    assert runner.model.num_classes == runner.cfg.model.num_classes == 3
    cfg = chain_cfg("dinov2-vits14", folders, tmp_path)
    cfg.train_dataloader = cfg.val_dataloader = cfg.test_dataloader = None
    with pytest.raises(ConfigError, match="no dataset has folders or a list of classes: set num_classes"):
        build_runner(cfg)


def one_class(root):
    for part in PARTS:
        shutil.rmtree(root / part / "green")
        shutil.rmtree(root / part / "red")


def empty_class(root):
    (root / "train/violet").mkdir()


def unknown_class(root):
    shutil.copytree(root / "val/red", root / "val/violet")


def broken_image(root):
    path = root / "train/red/0.jpg"
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize(
    ("command", "change", "message"),
    [
        ("train", one_class, "train has one class, blue: at least two are needed"),
        ("train", empty_class, "violet: has no images: add some, remove the class, or set missing_classes=True"),
        ("train", broken_image, "red/0.jpg: .* is a truncated JPEG file: download or copy it again"),
        (
            "test",
            unknown_class,
            "violet: is no class in .*/train: add it there, remove the folder, or set extra_classes",
        ),
    ],
)
def test_bad_folders_end_the_command_with_one_message(command, change, message, folders, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(folders, root)
    change(root)
    options = [f"data_root={root}", "image_dir=train", "test_dir=val", "num_workers=0", "model.backbone.init_cfg=None"]
    given = ["untrained"] if command == "test" else []
    work_dir = ["--work-dir", str(tmp_path / "run")]
    assert main(command, ["probe_dinov2-vits14_folders", *given, *work_dir, "--cfg-options", *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: data: ")
    assert len(error.splitlines()) <= 2
    assert re.search(message, error)


def test_all_families_on_photographs(test_data, tmp_path, monkeypatch, capsys):
    """Untrained encoders: the report has them beside chance and colour histograms."""
    data_root = test_data / "data/imagenette_224"
    for encoder in ENCODERS:
        cfg = chain_cfg(encoder, data_root, tmp_path / encoder, max_epochs=1)
        cfg.train_dataloader.dataset.shots = 5
        build_runner(cfg).train()
        (best,) = (tmp_path / encoder).glob("best_top1_epoch_*.pth")
        scores = build_runner(chain_cfg(encoder, data_root, tmp_path / encoder, str(best))).test()
        assert 0 <= scores["top1"] <= scores["top5"] <= 100
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    folders = [str(tmp_path / encoder) for encoder in ENCODERS]
    config, options = "probe_dinov2-vits14_folders", [f"data_root={data_root}", "image_dir=train", "test_dir=val"]
    arguments = [*folders, "--baselines", config, "--cfg-options", *options, "--out-dir", str(tmp_path / "out")]
    assert main("report-probe", arguments) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out/probes.json").read_text())
    assert [run["encoder"].split()[0] for run in report["runs"].values()] == [
        "SAMViT", "SAM2Hiera", "CLIPViT", "DINOv2ViT",
    ]  # fmt: skip
    assert all(run["images"] == 60 and len(run["classes"]) == 10 for run in report["runs"].values())
    assert report["baselines"]["chance"]["top1"] == 10
    assert report["baselines"]["colour histogram, 20-NN"]["top1"] > 20
    assert "published" not in printed
