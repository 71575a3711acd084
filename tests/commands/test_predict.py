"""The command that predicts images without truth."""

import json
import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from samplug.checkpoints import WeightsError
from samplug.commands import folder_predictions as module
from samplug.commands.folder_predictions import Settings, class_names, predict
from samplug.config import load_config
from samplug.converters import read_annotations, to_masks
from samplug.datasets import DataError
from samplug.datasets.synthetic import camouflage_scene
from samplug.imaging.files import read_mask
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import tiny_tssam_cfg
from tests.conftest import ROOT
from tests.processes import run_python

CONFIG = """
_base_ = {base!r}
model = dict(_delete_=True, **{model!r})
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A config, a checkpoint, and a folder of images with a subfolder."""
    from mmengine.registry import init_default_scope

    init_default_scope("samplug")
    root = tmp_path_factory.mktemp("predict")
    cfg = tiny_tssam_cfg()
    torch.manual_seed(3)
    model = MODELS.build(cfg)
    for parameter in model.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), root / "model.pth")
    (root / "tiny.py").write_text(CONFIG.format(base=str(ROOT / "configs/quickstart.py"), model=cfg))
    for index, name in enumerate(("a.png", "b.jpg", "deep/a.png")):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), camouflage_scene(0, index, 64)[0][: 40 + index])
    return root


@pytest.fixture
def settings(home):
    """With a threshold at which some of each image is foreground."""
    return Settings(str(home / "tiny.py"), str(home / "model.pth"), threshold=0.45)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def times(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in files(folder)}


EXPECTED = [
    "maps/a.png", "maps/b.png", "maps/deep/a.png", "masks/a.png", "masks/b.png", "masks/deep/a.png", "overlays/a.jpg",
    "overlays/b.jpg", "overlays/deep/a.jpg", "predict.json", "predict_images.jsonl",
]  # fmt: skip


def test_the_command(home, tmp_path):
    """The maps are those that tools/test.py writes of the same images."""
    out, data = tmp_path / "out", tmp_path / "data"
    shutil.copytree(home / "images", data / "images", ignore=shutil.ignore_patterns("deep"))
    for path in (data / "images").iterdir():
        (data / "masks").mkdir(exist_ok=True)
        height, width = cv2.imread(str(path)).shape[:2]
        cv2.imwrite(str(data / "masks" / f"{path.stem}.png"), np.full((height, width), 255, np.uint8))
    folder_config = tmp_path / "folder.py"
    folder_config.write_text(
        (home / "tiny.py").read_text().replace("quickstart.py", "quickstart_folder.py") + f"data_root = {str(data)!r}\n"
        f"test_dataloader = dict(batch_size=1, dataset=dict(part=None, data_root={str(data)!r}))\n"
    )
    runs = [
        ["tools/test.py", folder_config, home / "model.pth", "--out", tmp_path / "test", "--work-dir", tmp_path / "w"],
        ["tools/predict.py", folder_config, home / "model.pth", data / "images", "--out-dir", out, "--export", "coco"],
    ]
    for arguments in runs:
        run = run_python(*arguments, "--device", "cpu", cwd=ROOT)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    assert "2 images predicted into" in run.stdout
    for name in ("a.png", "b.png"):
        probability, mask = read_mask(out / "maps" / name), read_mask(out / "masks" / name)
        np.testing.assert_array_equal(probability, read_mask(tmp_path / "test" / name))
        assert np.ptp(probability) > 0
        certain = probability != 128  # 0.5 itself is rounded to 128
        np.testing.assert_array_equal((mask == 255)[certain], (probability > 127)[certain])


def test_subfolders_are_kept_and_finished_images_left_alone(home, settings, tmp_path, monkeypatch):
    outcome = predict(settings, [home / "images"], tmp_path, recursive=True)
    assert (outcome.predicted, outcome.present) == (3, 0)
    assert files(tmp_path) == EXPECTED
    before = times(tmp_path)
    (tmp_path / "masks/b.png").unlink()
    outcome = predict(settings, [home / "images"], tmp_path, recursive=True)
    assert (outcome.predicted, outcome.present) == (1, 2)
    after = times(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {
        "maps/b.png", "masks/b.png", "overlays/b.jpg", "predict_images.jsonl",
    }  # fmt: skip
    monkeypatch.setattr(module, "Inferencer", None)  # nothing to do needs no model
    assert predict(settings, [home / "images"], tmp_path, recursive=True).present == 3


def test_an_exchanged_image_is_predicted_again(home, settings, tmp_path):
    """A replaced image is predicted again even if it is older than its results, as in unpacked archives."""
    shutil.copytree(home / "images", tmp_path / "images")
    predict(settings, [tmp_path / "images"], tmp_path / "out")
    before = read_mask(tmp_path / "out/maps/a.png")
    cv2.imwrite(str(tmp_path / "images/a.png"), cv2.imread(str(tmp_path / "images/a.png"))[::-1])
    os.utime(tmp_path / "images/a.png", (1e9, 1e9))
    assert predict(settings, [tmp_path / "images"], tmp_path / "out").predicted == 1
    assert not np.array_equal(read_mask(tmp_path / "out/maps/a.png"), before)
    assert predict(settings, [tmp_path / "images"], tmp_path / "out").predicted == 0


def test_damaged_results_are_predicted_again_and_corrected_ones_kept(home, settings, tmp_path):
    predict(settings, [home / "images"], tmp_path)
    corrected = np.zeros_like(read_mask(tmp_path / "masks/a.png"))
    cv2.imwrite(str(tmp_path / "masks/a.png"), corrected)
    whole = (tmp_path / "overlays/b.jpg").read_bytes()
    (tmp_path / "overlays/b.jpg").write_bytes(whole[: len(whole) // 2])
    outcome = predict(settings, [home / "images"], tmp_path)
    assert (outcome.predicted, outcome.present) == (1, 1)
    assert (tmp_path / "overlays/b.jpg").read_bytes() == whole
    np.testing.assert_array_equal(read_mask(tmp_path / "masks/a.png"), corrected)
    # The record of a killed run ends within a line.
    record = tmp_path / "predict_images.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    odd = '[]\n{"image": ["a"], "facts": null, "results": {}}\n{"image": "a", "facts": [1, 2], "results": null}\n'
    record.write_text(odd + lines[0] + lines[1][: len(lines[1]) // 2])
    assert predict(settings, [home / "images"], tmp_path).predicted == 1
    assert predict(settings, [home / "images"], tmp_path).predicted == 0


def test_predictions_of_two_models_are_not_mixed(home, settings, tmp_path):
    path = home / "images/a.png"
    predict(settings, [path], tmp_path, overlay=False)
    other = Settings(settings.config, settings.checkpoint, threshold=0.6)
    with pytest.raises(ConfigError, match=r"other settings \(threshold changed"):
        predict(other, [path], tmp_path, overlay=False)
    state = os.stat(settings.checkpoint)
    os.utime(settings.checkpoint, (state.st_atime, state.st_mtime + 7))
    with pytest.raises(ConfigError, match="state_of_checkpoint changed"):
        predict(settings, [path], tmp_path, overlay=False)
    assert predict(other, [path], tmp_path, overlay=False, overwrite=True).predicted == 1
    assert predict(other, [path], tmp_path, overlay=False).present == 1
    (tmp_path / "predict.json").write_text("[]")
    with pytest.raises(DataError, match=r"predict\.json does not hold settings of predictions"):
        predict(other, [path], tmp_path, overlay=False)


def test_a_killed_run_leaves_whole_files(home, settings, tmp_path, monkeypatch):
    replaced = []

    def dies(source, target):
        replaced.append(target)
        if len(replaced) == 4:  # predict.json, the first mask, its map
            raise KeyboardInterrupt
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("samplug.imaging.files.os.replace", dies)
        with pytest.raises(KeyboardInterrupt):
            predict(settings, [home / "images"], tmp_path)
    whole = [name for name in files(tmp_path) if not name.split("/")[-1].startswith(".")]
    assert whole == ["maps/a.png", "masks/a.png", "predict.json"]
    assert predict(settings, [home / "images"], tmp_path).predicted == 2
    assert not [name for name in files(tmp_path) if name.endswith(".partial")]


def test_broken_images_are_listed_at_the_end(home, settings, tmp_path):
    shutil.copytree(home / "images", tmp_path / "images")
    (tmp_path / "images/aa.png").write_bytes((tmp_path / "images/a.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"1 of 3 images could not .*\n.*aa.png is a truncated PNG"):
        predict(settings, [tmp_path / "images"], tmp_path / "out", formats=["yolo"])
    assert (tmp_path / "out/masks/b.png").is_file()
    assert files(tmp_path / "out/yolo/labels") == ["a.txt", "b.txt"]
    outcome = predict(settings, [tmp_path / "images"], tmp_path / "out", on_error="skip")
    assert list(outcome.failures) == [str(tmp_path / "images/aa.png")]


def test_names_that_clash_are_found_before_anything_is_written(home, settings, tmp_path):
    with pytest.raises(DataError, match=r"would both be written as a:"):
        predict(settings, [home / "images/a.png", home / "images/deep/a.png"], tmp_path / "out")
    with pytest.raises(ConfigError, match="a later run would predict masks"):
        predict(settings, [home], home / "out", recursive=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["coco", "labelme", "yolo"])
def test_the_loop_back_to_masks(home, settings, tmp_path, format):
    out = tmp_path / "out"
    outcome = predict(settings, [home / "images"], out, recursive=True, formats=[format])
    assert outcome.objects[format] > 0
    to_masks(
        read_annotations(out / format / "annotations.json" if format == "coco" else out / format), tmp_path / "new"
    )
    assert files(tmp_path / "new/images") == files(home / "images")
    for name in files(out / "masks"):
        predicted, read = read_mask(out / "masks" / name), read_mask(tmp_path / "new/masks" / name)
        assert predicted.any()
        if format == "coco":
            np.testing.assert_array_equal(read, predicted)
        else:
            assert (predicted == read).mean() > 0.95
    with pytest.raises(DataError, match="perhaps with corrections"):
        predict(settings, [home / "images"], out, recursive=True, formats=[format])
    predict(settings, [home / "images"], out, recursive=True, formats=[format], overwrite=True)


def test_settings_are_kept(home, settings, tmp_path):
    predict(settings, [home / "images/a.png"], tmp_path)
    kept = json.loads((tmp_path / "predict.json").read_text())
    assert (kept["config"], kept["threshold"], kept["tile"]) == (settings.config, 0.45, None)


def test_settings_without_a_model_leave_no_trace(home, settings, tmp_path):
    with pytest.raises(WeightsError):
        predict(replace(settings, checkpoint=str(home / "typo.pth")), [home / "images/a.png"], tmp_path)
    assert files(tmp_path) == []
    assert predict(settings, [home / "images/a.png"], tmp_path).predicted == 1
    before = times(tmp_path)
    with pytest.raises(ConfigError):
        predict(replace(settings, tile=0), [home / "images/a.png"], tmp_path, overwrite=True)
    assert times(tmp_path) == before
    assert predict(settings, [home / "images/a.png"], tmp_path).present == 1


def test_names_of_classes(home):
    cfg = load_config(home / "tiny.py")
    assert class_names(cfg) == ("background", "foreground")
    cfg.model.num_classes = 3
    assert class_names(cfg) == ["class_0", "class_1", "class_2"]
    cfg.test_dataloader.dataset.metainfo = dict(classes=("sky", "cat", "dog"))
    assert class_names(cfg) == ("sky", "cat", "dog")


def test_odd_names(home, settings, tmp_path):
    """A Latin-1 name of an old archive, and the longest names: all results are written."""
    images = tmp_path / "images"
    images.mkdir()
    latin = os.fsdecode(b"caf\xe9.png")
    longest = "x" * 246 + ".png"
    for name in (latin, longest):
        shutil.copyfile(home / "images/a.png", images / name)
    out = tmp_path / "out"
    formats = ["coco", "labelme", "yolo"]
    outcome = predict(settings, [images], out, formats=formats)
    assert outcome.predicted == 2
    assert {path.name for path in (out / "masks").iterdir()} == {latin, longest}
    content = json.loads((out / "coco/annotations.json").read_text(encoding="utf-8"))
    assert all((out / "coco/images" / entry["file_name"]).is_file() for entry in content["images"])
    labelme = json.loads((out / "labelme" / f"{latin.removesuffix('.png')}.json").read_text(encoding="utf-8"))
    assert (out / "labelme" / labelme["imagePath"]).resolve() == (images / latin).resolve()
    assert predict(settings, [images], out).present == 2


def test_names_that_become_too_long_are_found_before_the_work(home, settings, tmp_path):
    name = "x" * 251
    shutil.copyfile(home / "images/a.png", tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=r"labelme.*255 bytes"):
        predict(settings, [tmp_path / f"{name}.png"], tmp_path / "out", formats=["labelme"])
    assert not (tmp_path / "out").exists()
    assert predict(settings, [tmp_path / f"{name}.png"], tmp_path / "out", formats=["yolo"]).predicted == 1


def test_a_full_disk(home, settings, tmp_path, monkeypatch):
    """Finished images are kept, the error names the remedy, and the next run continues."""
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 6:  # predict.json, three files of the first image, the mask and the map of the second
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"maps/b\.png cannot be written: No space left.*free space there"):
            predict(settings, [home / "images"], tmp_path)
    assert not [name for name in files(tmp_path) if name.endswith(".partial")]
    outcome = predict(settings, [home / "images"], tmp_path)
    assert (outcome.predicted, outcome.present) == (1, 1)
