"""Pictures of what a model is fed."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from samplug.apis import init_model
from samplug.commands import interaction_pictures
from samplug.commands import sample_pictures as module
from samplug.commands.sample_pictures import browse, time_loader
from samplug.config import load_config
from samplug.datasets import DataError
from samplug.datasets.synthetic import camouflage_scene
from samplug.engine.runner import SamplugRunner
from samplug.utils.errors import ConfigError
from samplug.visualization import contact_sheet, draw_overlay
from tests.builders import TINY_ARCH
from tests.conftest import ROOT
from tests.processes import run_python

SCENES = dict(train_length=6, test_length=4, data_size=48, img_size=32)


@pytest.fixture
def scenes():
    return load_config(ROOT / "configs/quickstart.py", SCENES)


@pytest.fixture
def folder(tmp_path):
    """Twelve pairs, wider than high."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for index in range(12):
        image, mask = camouflage_scene(0, index, 60)
        cv2.imwrite(str(tmp_path / "images" / f"river {index}.jpg"), image[:40])
        cv2.imwrite(str(tmp_path / "masks" / f"river {index}.png"), mask[:40] * np.uint8(255))
    return tmp_path


def folder_cfg(folder, **options):
    return load_config(ROOT / "configs/quickstart_folder.py", dict(data_root=str(folder), img_size=32, **options))


def captured(monkeypatch):
    """The samples that browse draws."""
    samples = []
    draw = module._draw
    monkeypatch.setattr(module, "_draw", lambda views, sessions: samples.append(views) or draw(views, sessions))
    return samples


def test_draws_what_training_is_fed(scenes, tmp_path, monkeypatch):
    samples = captured(monkeypatch)
    assert browse(scenes, tmp_path, epoch=1, seed=5) == 6
    loader = SamplugRunner.build_dataloader(dict(scenes.train_dataloader, batch_size=6, num_workers=2), seed=5)
    batches = iter(loader)
    fed = [next(batches) for _ in range(2)][1]  # the second pass
    by_path = {sample.img_path: image for image, sample in zip(fed["inputs"], fed["data_samples"], strict=True)}
    for (sample,) in samples:
        torch.testing.assert_close(sample["inputs"], by_path.pop(sample["data_samples"].img_path))
    assert not by_path


def test_modes_and_files(scenes, tmp_path):
    widths = {}
    for mode in ("transformed", "original", "concat"):
        assert browse(scenes, tmp_path / mode, "test", number=3, mode=mode) == 3
        files = sorted(path.name for path in (tmp_path / mode).iterdir())
        assert files == ["scene_1000_00000.png", "scene_1000_00002.png", "scene_1000_00003.png", "sheet.jpg"]
        assert cv2.imread(str(tmp_path / mode / "sheet.jpg")) is not None
        widths[mode] = cv2.imread(str(tmp_path / mode / files[0])).shape[1]
    assert widths == dict(transformed=256, original=288, concat=2 * 256 + 4)  # enlarged 8 and 6 times


def test_original_is_the_image_itself(folder, tmp_path, monkeypatch):
    samples = captured(monkeypatch)
    drawn = browse(folder_cfg(folder), tmp_path / "out", number=99, mode="concat")
    assert len(samples) == len(list((tmp_path / "out").glob("river*.png"))) == drawn > 4
    for original, transformed in samples:
        path = original["data_samples"].img_path
        np.testing.assert_array_equal(original["inputs"].permute(1, 2, 0).numpy(), cv2.imread(path))
        assert original["data_samples"].gt_sem_seg.shape == (40, 60)
        assert transformed["data_samples"].img_path == path
        assert transformed["inputs"].shape == (3, 32, 32)


def test_images_of_one_name_are_all_written(scenes, tmp_path):
    once = scenes.train_dataloader.dataset
    scenes.train_dataloader.dataset = dict(type="RepeatDataset", dataset=once, times=2)
    assert browse(scenes, tmp_path, mode="concat") == 12
    assert len(list(tmp_path.glob("scene*.png"))) == 12


def test_pictures_stay_when_a_file_is_broken(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "samplug.datasets.binary_seg.scan_pairs", lambda *_: {}
    )  # a file outside the sample that is checked first
    out = tmp_path / "out"
    complete = browse(folder_cfg(folder), out)
    names = sorted(path.stem for path in out.glob("river*.png"))
    assert len(names) == complete
    broken = names[len(names) // 2]
    (folder / "images" / f"{broken}.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=f"{broken}\\.jpg .* is no image"):
        browse(folder_cfg(folder), tmp_path / "partly")
    assert sorted(path.stem for path in (tmp_path / "partly").glob("river*.png")) == names[: names.index(broken)]
    assert (tmp_path / "partly" / "sheet.jpg").is_file()


def test_truth_and_ignored_pixels_show():
    image = np.zeros((40, 40, 3), np.uint8)
    foreground, ignored = np.zeros((2, 40, 40), bool)
    foreground[5:15, 5:15] = ignored[20:36, 20:36] = True
    drawn = draw_overlay(image, foreground, ignored=ignored)
    assert (drawn[foreground].max(axis=-1) > 0).all()
    hatched = (drawn == 128).all(axis=-1)
    assert 0.3 < hatched[ignored].mean() < 0.7
    assert not drawn[~foreground & ~ignored].any()


def test_caption_counts_without_ignored_pixels(scenes):
    view = SamplugRunner.build_dataloader(scenes.train_dataloader, seed=0).dataset
    sample = view[0]
    mask = sample["data_samples"].gt_sem_seg.data
    mask[:] = 0
    mask[:, :8] = 1
    mask[:, 16:] = 255
    assert module._draw([sample])[1] == ["scene_0_00000.png", "32x32, fg 50.0%, ignored 50.0%"]


def test_sheet_rows():
    square, wide = np.zeros((50, 50, 3), np.uint8), np.zeros((50, 150, 3), np.uint8)
    assert contact_sheet([(square, ["a", "b"])] * 7).shape == (2 * (240 + 40 + 4), 5 * 244, 3)
    assert contact_sheet([(square, ["a"]), (wide, ["b"])]).shape == (2 * (240 + 20 + 4), 724, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(phase="val"), r"quickstart\.py has no val_dataloader \(it has: train, test\)"),
        (dict(number=0), "number=0 must be at least 1"),
        (dict(epoch=-1), "epoch=-1 at least 0"),
    ],
)
def test_mistakes_are_explained(scenes, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        browse(scenes, tmp_path, **changes)


def test_speed(scenes):
    speed = time_loader(scenes, "train", batches=3)
    assert speed.batches == 3
    assert speed.first > 0
    assert speed.images_per_second > 0
    with pytest.raises(ConfigError, match="nothing to time"):  # four images in one batch of eight
        time_loader(scenes, "test", batches=3)


def test_command(folder, tmp_path):
    def line(*arguments):
        options = ["--cfg-options", f"data_root={folder}", "img_size=32"]
        return ["tools/browse_dataset.py", "configs/quickstart_folder.py", *arguments, *options]

    def command(*arguments):
        return run_python(*line(*arguments), cwd=ROOT)

    drawn = line("-p", "test", "-n", "2", "-m", "concat", "-o", str(tmp_path / "out"), "--seed", "1", "--epoch", "2")
    run = subprocess.run([sys.executable, *drawn], cwd=ROOT, capture_output=True, text=True)
    assert "2 pictures and sheet.jpg written to" in run.stdout, run.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    run = command("--speed", "2")
    assert "images/s over 2 batches" in run.stdout
    assert "batch_size=4, num_workers=0" in run.stdout
    (folder / "masks" / "river 3.png").unlink()
    run = command()
    assert run.returncode == 1
    assert "river 3.jpg" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture(scope="module")
def promptable(tmp_path_factory):
    """A small promptable model's config and random weights."""
    folder = tmp_path_factory.mktemp("prompts")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index in range(12):
        image, mask = camouflage_scene(0, index, 60)
        cv2.imwrite(str(folder / "images" / f"{index}.jpg"), image[:40])
        cv2.imwrite(str(folder / "masks" / f"{index}.png"), mask[:40] * np.uint8(255))
    options = dict(data_root=str(folder), img_size=64, batch_size=2, num_workers=0)
    cfg = load_config(ROOT / "projects/small/prompted-small_folders-256.py", options)
    cfg.model.backbone.arch = dict(TINY_ARCH)
    cfg.model.train_prompts.num_correction_points = 2
    return cfg


def test_prompts_are_those_of_the_training(promptable, tmp_path, monkeypatch):
    """What is drawn is what the model is told, when a training with this seed comes to the sample."""
    drawn = {}
    mark = interaction_pictures._mark
    monkeypatch.setattr(
        interaction_pictures, "_mark", lambda p, kind, place, number: drawn[name].append((kind, tuple(place)))
    )
    draw = module._draw

    def named(samples, sessions):
        nonlocal name
        name = samples[0]["data_samples"].img_path
        drawn[name] = []
        return draw(samples, sessions)

    name = ""
    monkeypatch.setattr(module, "_draw", named)
    number = browse(promptable, tmp_path, epoch=1, seed=5, checkpoint="untrained")
    assert number > 4

    model = init_model(promptable, "untrained")
    told = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda f, p, *a, **k: told.append(p) or decode(f, p, *a, **k))
    loader = SamplugRunner.build_dataloader(
        dict(promptable.train_dataloader, batch_size=1, sampler=dict(type="DefaultSampler", shuffle=False)), seed=5
    )
    loader.sampler.set_epoch(1)
    for batch in loader:
        told.clear()
        with torch.no_grad():
            model.loss(**model.data_preprocessor(batch, True))
        first = told[0]
        scale = 4  # 64 pixels to 256
        expected = (
            [("box", tuple((first.boxes[0].numpy() + 0.5) * scale))]
            if first.boxes is not None
            else [("object", tuple((first.points[0, 0].numpy() + 0.5) * scale))]
        )
        found = drawn[batch["data_samples"][0].img_path]
        assert [(kind, pytest.approx(place)) for kind, place in found[:1]] == expected
        assert len(found) == 3
    picture = np.zeros((300, 300, 3), np.uint8)
    mark(picture, "object", np.array([150.0, 100.0]), 1)
    assert picture[100, 150].tolist() == list(interaction_pictures._OBJECT)


def test_first_prompts_need_no_weights(promptable, tmp_path):
    assert browse(promptable, tmp_path / "train", prompts=True, number=2) == 2
    assert browse(promptable, tmp_path / "test", "test", prompts=True, number=1) == 1
    with pytest.raises(ConfigError, match="use mode 'transformed'"):
        browse(promptable, tmp_path, mode="original", prompts=True)


def test_unknown_mode(scenes, tmp_path):
    with pytest.raises(ConfigError, match="mode='orginal' is unknown: use one of transformed, original, concat"):
        browse(scenes, tmp_path, mode="orginal")


def test_models_without_prompts(scenes, tmp_path):
    with pytest.raises(ConfigError, match="TSSAM takes no prompts"):
        browse(scenes, tmp_path, prompts=True)


def test_maps_of_regions_are_drawn(tmp_path, monkeypatch):
    """As objects are, with their number; 0 and 255 are regions like others, or, in ADE20K's maps, 0 is none."""
    captions = []
    monkeypatch.setattr(module, "_wide_captioned", lambda picture, lines: captions.append(lines) or picture)
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 20:] = 255
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images/7.jpg"), np.full((40, 60, 3), 120, np.uint8))
    cv2.imwrite(str(tmp_path / "labels/7.png"), labels)
    for layout, number in (("rwtd", "2 regions"), ("ade20k", "1 region")):
        dataset = dict(layout=layout, data_root=str(tmp_path), image_dir="images", mask_dir="labels")
        cfg = load_config(ROOT / "configs/texture/masks_sam2.1-hiera-s_rwtd-1024.py", dict(img_size=32, num_workers=0))
        cfg.test_dataloader.dataset.datasets[0].update(dataset)
        assert browse(cfg, tmp_path / layout, phase="test") == 1
        (file,) = (tmp_path / layout).rglob("*.png")
        picture = cv2.imread(str(file))
        left, right = picture[50, 20].astype(int), picture[50, 200].astype(int)
        assert np.abs(right - 120).max() > 20
        assert (np.abs(left - 120).max() > 20) == (layout == "rwtd")
        assert captions[-1][-1].endswith(number)
