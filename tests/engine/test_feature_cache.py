"""Linear probes whose encoder runs once: the same training, and no stored feature that does not belong to it."""

import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope

from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.datasets.transforms import LoadImage
from samplug.features import VectorStore
from samplug.models.probe import Readout
from samplug.utils.errors import ConfigError, DataError
from tests.builders import TINY_ARCH, TINY_CLIP, tiny_clip
from tests.conftest import ROOT
from tests.ranks import end, run_ranks

CLASSES, EACH, VAL = 3, 5, 3
IMAGES, VAL_IMAGES = CLASSES * EACH, CLASSES * VAL


def write_images(folder):
    """Noisy images whose colour tells the class."""
    for part, each in (("train", EACH), ("val", VAL)):
        for label in range(CLASSES):
            (folder / part / f"c{label}").mkdir(parents=True)
            for index in range(each):
                values = np.random.default_rng((label, index, each)).normal(90, 40, (40, 32, 3))
                values[..., label] += 60
                cv2.imwrite(str(folder / part / f"c{label}/{index}.png"), np.clip(values, 0, 255).astype(np.uint8))


def save_weights(path, seed):
    torch.manual_seed(seed)
    encoder = tiny_clip(img_size=32)
    encoder.init_weights()
    torch.save({f"visual.{name}": value for name, value in encoder.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder, save_weights(folder / "encoder.pth", 1)


def config(material, work_dir, cache_dir, max_epochs=2, **changes):
    """The preset 'fair' with a tiny encoder; ``cache_dir``: None runs the encoder in every epoch."""
    folder, weights = material
    options = dict(
        num_classes=CLASSES, num_workers=0, img_size=32, max_epochs=max_epochs, poolings=["mean", "cls+mean"],
        cache_dir=None if cache_dir is None else str(cache_dir),
    )  # fmt: skip
    cfg = load_config(str(ROOT / "configs/_base_/probes/fair.py"), options)
    init = dict(type="Pretrained", checkpoint=weights)
    cfg.model.backbone = dict(type="CLIPViT", arch=TINY_CLIP, img_size=32, init_cfg=init)
    cfg.work_dir = str(work_dir)
    cfg.train_cfg.val_interval = 1
    for part in ("train", "val", "test"):
        loader = cfg[f"{part}_dataloader"]
        data = dict(type="ImageFolderDataset", data_root=str(folder), image_dir="val" if part == "test" else part)
        loader.dataset = dict(**data, classes_from="train", pipeline=cfg.test_pipeline)
        loader.batch_size = 4
    cfg.train_dataloader.drop_last = True
    cfg.val_dataloader.dataset.pop("classes_from")
    cfg.test_dataloader = cfg.val_dataloader
    cfg.custom_hooks[0].select = "val"
    cfg.merge_from_dict(changes)
    return cfg


@pytest.fixture
def work(monkeypatch):
    """Counts of opened images, and of images that the encoder was given."""
    counts = Counter()
    load, record = LoadImage.transform, Readout.record

    def counted_load(self, results):
        counts["opened"] += 1
        return load(self, results)

    def counted_record(self, images):
        counts["encoded"] += len(images)
        return record(self, images)

    monkeypatch.setattr(LoadImage, "transform", counted_load)
    monkeypatch.setattr(Readout, "record", counted_record)
    return counts


class Scores(Hook):
    def __init__(self):
        self.seen = []

    def after_val_epoch(self, runner, metrics=None):
        self.seen.append(dict(metrics))


def train(cfg, **more):
    runner, scores = build_runner(Config({**cfg.to_dict(), **more})), Scores()
    runner.register_hook(scores, "LOWEST")
    runner.train()
    return {name: value.clone() for name, value in runner.bare_model.state_dict().items()}, scores.seen


@pytest.fixture(scope="module")
def uncached(material, tmp_path_factory):
    """State and scores of the training without files."""
    return train(config(material, tmp_path_factory.mktemp("uncached"), None))


@pytest.fixture(scope="module")
def filled(material, tmp_path_factory):
    """Folder of the features of training and validation images, not to be changed; and the training that filled it."""
    folder = tmp_path_factory.mktemp("filled")
    return folder, train(config(material, tmp_path_factory.mktemp("cached"), folder))


@pytest.fixture
def cache(filled, tmp_path):
    """A copy of these features."""
    return shutil.copytree(filled[0], tmp_path / "cache")


def assert_equal(found, expected):
    (state, scores), (expected_state, expected_scores) = found, expected
    assert scores == expected_scores
    assert state.keys() == expected_state.keys()
    assert [name for name, value in state.items() if not torch.equal(value, expected_state[name])] == []


def files(folder):
    return sorted(Path(folder).glob("**/*.vectors"))


def log(work_dir):
    return "\n".join(path.read_text() for path in Path(work_dir).glob("*/*.log"))


def test_cached_training_equals_the_uncached(uncached, filled):
    """Every bit of weights, running statistics and scores, after two epochs with shuffling."""
    assert_equal(filled[1], uncached)
    assert len(files(filled[0])) == 1  # training and validation have one pipeline


def test_each_image_is_encoded_once(material, tmp_path, work):
    cfg = config(material, tmp_path / "first", tmp_path / "cache")
    train(cfg)
    tried = 16 + 16  # in search of random augmentation
    assert work == dict(opened=IMAGES + VAL_IMAGES + tried, encoded=IMAGES + VAL_IMAGES)
    work.clear()
    train(config(material, tmp_path / "second", tmp_path / "cache"))
    build_runner(Config({**cfg.to_dict(), "load_from": str(tmp_path / "first/epoch_2.pth")})).test()
    assert not work
    assert "train data are 15 features of" in log(tmp_path / "second")


def test_float16_is_half_the_size_and_close(material, tmp_path, uncached, filled):
    cfg = config(material, tmp_path, tmp_path / "cache", **{"custom_hooks.2.dtype": "float16"})
    state, scores = train(cfg)
    for name, value in state.items():
        torch.testing.assert_close(value, uncached[0][name], rtol=1e-2, atol=1e-3)
    (half,), (full,) = files(tmp_path / "cache"), files(filled[0])
    assert half.stat().st_size < 0.65 * full.stat().st_size
    assert scores[-1]["val_loss"] == pytest.approx(uncached[1][-1]["val_loss"], rel=1e-2)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on(material, tmp_path, uncached, work, monkeypatch):
    """Of two batches and half a record that were written, the batches are kept."""
    record = Readout.record

    def until_killed(self, images):
        if work["encoded"] == 8:
            raise Killed
        return record(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Readout, "record", until_killed)
        with pytest.raises(Killed):
            train(config(material, tmp_path / "killed", tmp_path / "cache"))
    (path,) = files(tmp_path / "cache")
    with open(path, "ab") as file:
        file.write(b"x" * 50)
    work.clear()
    assert_equal(train(config(material, tmp_path / "again", tmp_path / "cache")), uncached)
    assert work["encoded"] == IMAGES - 8 + VAL_IMAGES
    assert "7 of 15 images are encoded once" in log(tmp_path / "again")


def test_training_by_iteration_goes_on_from_files(material, tmp_path, cache, work):
    """Killed within an epoch and resumed, with InfiniteSampler, as without files and without interruption."""

    class At7(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 7:
                raise Killed

    def cfg(work_dir, cache_dir):
        found = config(material, work_dir, cache_dir)
        found.train_cfg = dict(type="IterBasedTrainLoop", max_iters=9, val_interval=5)
        found.param_scheduler = [dict(type="CosineAnnealingLR", T_max=9, by_epoch=False)]
        found.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
        found.default_hooks.checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=3)
        return found

    expected = train(cfg(tmp_path / "whole", None))
    work.clear()
    runner = build_runner(cfg(tmp_path / "cut", cache))
    runner.register_hook(At7())
    with pytest.raises(Killed):
        runner.train()
    state, scores = train(cfg(tmp_path / "cut", cache), resume=True)
    assert_equal((state, scores[-1:]), (expected[0], expected[1][-1:]))
    assert not work


def test_a_damaged_record_is_computed_again(material, tmp_path, cache, uncached, work):
    (path,) = files(cache)
    content = bytearray(path.read_bytes())
    content[256 + 40] ^= 1  # in the first record's values
    path.write_bytes(content)
    state, _ = train(config(material, tmp_path / "run", cache))
    for name, value in state.items():  # encoded alone, not in a batch of four: other rounding
        torch.testing.assert_close(value, uncached[0][name], rtol=1e-5, atol=1e-6)
    assert work["encoded"] == 1
    assert f"1 records of {path} are damaged" in log(tmp_path / "run")


def test_a_changed_image_is_encoded_again(material, tmp_path, work):
    images = shutil.copytree(material[0], tmp_path / "images")
    train(config((images, material[1]), tmp_path / "first", tmp_path / "cache"))
    work.clear()
    os.utime(images / "train/c1/2.png", ns=(1, 1))
    train(config((images, material[1]), tmp_path / "second", tmp_path / "cache"))
    assert work["encoded"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model.readout.poolings": ["mean", "last2"]},
        {"model.data_preprocessor": dict(mean=[0.0, 0.0, 0.0])},
        {"train_dataloader.dataset.pipeline.1.interpolation": "bilinear"},
        {"model.backbone.activation": "gelu"},
        None,
    ],
    ids=["readout", "normalisation", "pipeline", "encoder", "weights"],
)
def test_other_features_have_another_file(material, tmp_path, cache, work, change):
    (path,) = files(cache)
    before = path.read_bytes()
    if change is None:
        material = material[0], save_weights(tmp_path / "other.pth", 2)
    train(config(material, tmp_path / "run", cache, max_epochs=1, **(change or {})))
    assert work["encoded"] >= IMAGES
    assert path.read_bytes() == before
    assert len(files(cache)) == 2


def test_a_checkpoint_with_another_encoder_is_encoded_again(material, tmp_path, cache, work):
    runner = build_runner(config(material, tmp_path / "run", cache, max_epochs=1))
    runner.train()
    assert not work
    state = dict(runner.bare_model.state_dict())
    state["backbone.conv1.weight"] = state["backbone.conv1.weight"] + 0.1
    torch.save(dict(state_dict=state), tmp_path / "other.pth")
    runner.load_checkpoint(str(tmp_path / "other.pth"))
    runner.val_loop.run()
    assert work["encoded"] == VAL_IMAGES
    runner.val_loop.run()
    runner.visualizer.close()
    assert work["encoded"] == VAL_IMAGES


def test_poolings_of_the_same_vectors_share_a_file(material, tmp_path, cache, work):
    train(config(material, tmp_path / "run", cache, **{"model.readout.poolings": ["cls", "mean"]}))
    assert not work


def test_a_file_under_another_name_is_an_error(material, tmp_path, cache):
    """As when a file is copied over that of another encoder."""
    train(config((material[0], save_weights(tmp_path / "other.pth", 2)), tmp_path / "other", tmp_path / "others"))
    (path,), (other,) = files(cache), files(tmp_path / "others")
    shutil.copy(other, path)
    with pytest.raises(DataError, match=rf"{path.name} begins with .*delete it, or name another file"):
        train(config(material, tmp_path / "run", cache))


class OwnGenerator(BaseTransform):
    """Brightness drawn from a generator that nobody seeds."""

    def __init__(self):
        self.generator = np.random.default_rng(0)

    def transform(self, results):
        results["img"] = np.clip(results["img"] * self.generator.uniform(0.5, 1.5), 0, 255).astype(np.uint8)
        return results


class Rare(BaseTransform):
    """Random for one image, which is not among those that are tried."""

    def transform(self, results):
        if results["img_path"].endswith("c0/1.png"):
            results["img"] = results["img"][:, :: np.random.choice([-1, 1])]
        return results


@pytest.mark.parametrize(
    "step", [dict(type="mmseg.RandomFlip", prob=0.5), dict(type=OwnGenerator)], ids=["flip", "own"]
)
def test_random_augmentation_is_never_kept(material, tmp_path, work, step):
    """The encoder runs for each training image in each epoch; validation reads files."""
    cfg = config(material, tmp_path / "run", tmp_path / "cache")
    cfg.train_dataloader.dataset.pipeline.insert(3, step)
    state, _ = train(cfg)
    assert work["encoded"] == 2 * 12 + VAL_IMAGES  # three of four batches of an epoch are whole
    (path,) = files(tmp_path / "cache")
    assert len(VectorStore(path, *_header(path))) == VAL_IMAGES
    assert "the encoder runs for each image of the train data in each pass: images are augmented at random" in log(
        tmp_path / "run"
    )
    if "prob" in step:
        cfg.custom_hooks, cfg.work_dir = cfg.custom_hooks[:2], str(tmp_path / "uncached")
        assert_equal((state, []), (train(cfg)[0], []))


def test_parts_with_different_pipelines_are_not_kept(material, tmp_path, work):
    """A file belongs to one pipeline."""
    cfg = config(material, tmp_path / "run", tmp_path / "cache", max_epochs=1)
    one = cfg.train_dataloader.dataset.to_dict()
    other = {
        **one,
        "image_dir": "val",
        "name": "other",
        "pipeline": [*one["pipeline"][:1], dict(type="ResizeShortSide", size=48), *one["pipeline"][2:]],
    }
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[one, other])
    train(cfg)
    assert work["encoded"] == 24 + VAL_IMAGES
    assert "train data in each pass: its parts have different pipelines" in log(tmp_path / "run")


def test_only_probes_have_pooled_features(material, tmp_path):
    cfg = config(material, tmp_path / "run", tmp_path / "cache", load_from="untrained")
    cfg.model = dict(type="TSSAM", backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=32))
    cfg.custom_hooks = cfg.custom_hooks[2:]
    with pytest.raises(ConfigError, match="FeatureCacheHook: TSSAM reads no pooled features: remove it from the hooks"):
        build_runner(cfg).test()


def test_rare_random_augmentation_is_an_error(material, tmp_path):
    cfg = config(material, tmp_path / "run", tmp_path / "cache")
    cfg.train_dataloader.dataset.pipeline.insert(3, dict(type=Rare))
    with pytest.raises(DataError, match=r"draws random numbers for .*c0/1.png and not for the first images"):
        train(cfg)


def test_a_feature_that_is_no_number_is_an_error(material, tmp_path, monkeypatch):
    record = Readout.record
    monkeypatch.setattr(Readout, "record", lambda self, images: record(self, images) * float("nan"))
    with pytest.raises(DataError, match=r"c0/0.png is NaN or infinite"):
        train(config(material, tmp_path / "run", tmp_path / "cache"))


def test_a_small_disk_is_an_error_before_the_work(material, tmp_path, monkeypatch, work):
    monkeypatch.setattr(
        "samplug.engine.feature_cache.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 1)
    )
    with pytest.raises(DataError, match=r"are needed in .*, and 1 KiB are free: set cache_dir to another disk"):
        train(config(material, tmp_path / "run", tmp_path / "cache"))
    assert not work["encoded"]


def test_a_bank_of_neighbours_reads_the_features_of_the_training(material, tmp_path, cache, work):
    cfg = config(material, tmp_path / "run", cache, load_from="untrained")
    val = cfg.val_dataloader.dataset.to_dict()
    bank = {**cfg.train_dataloader.dataset.to_dict(), "bank": True}
    cfg.test_dataloader.dataset = dict(type="ConcatDataset", datasets=[bank, val])
    cfg.model.head = dict()
    cfg.model.readout.poolings = ["cls+mean"]
    cfg.model.norm = None
    cfg.test_evaluator = [dict(type="KNNMetric", ks=(3, 5))]
    cfg.custom_hooks = cfg.custom_hooks[2:]
    found = build_runner(cfg).test()
    assert not work
    cfg.custom_hooks = []
    expected = build_runner(cfg).test()
    assert work["encoded"] == IMAGES + VAL_IMAGES
    assert found == expected


def test_two_processes_fill_one_file(material, tmp_path, filled):
    """Fifteen and nine images for two ranks; one process then finds nothing missing, and values are the same."""
    cfg = config(material, tmp_path / "run", tmp_path / "cache")
    cfg.launcher = "pytorch"
    cfg.dump(tmp_path / "config.py")
    run_ranks("tests.engine.test_feature_cache", tmp_path / "config.py")
    (path,), (expected,) = files(tmp_path / "cache"), files(filled[0])
    assert path.name == expected.name
    found, expected = (dict(_records(one)) for one in (path, expected))
    assert len(found) == len(expected) == IMAGES + VAL_IMAGES
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-6)
    assert "15 of 15 images are encoded once" in log(tmp_path / "run")
    assert "Epoch(val) [2]" in log(tmp_path / "run")


def _header(path):
    """Length and source of a file's vectors."""
    header = json.loads(path.read_bytes()[:256])
    return header["dim"], header["source"]


def _records(path):
    dim, _ = _header(path)
    kind = np.dtype([("key", "V32"), ("values", "<f4", dim), ("crc", "<u4")])
    return ((record["key"].tobytes(), record["values"]) for record in np.fromfile(path, kind, offset=256))


def main():
    init_default_scope("samplug")
    append = VectorStore.append

    def slow_append(self, *arguments):
        time.sleep(0.2)  # the other process waits for what this one writes
        append(self, *arguments)

    VectorStore.append = slow_append
    build_runner(Config.fromfile(sys.argv[1])).train()


if __name__ == "__main__":
    end(main)
