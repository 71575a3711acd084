"""Training linear probes with their presets: schedules, names, the choice of a head and what checkpoints keep of it."""

import math

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement

from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.engine.hooks.head_selection import META_KEY
from samplug.registry import DATASETS, MODELS
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.models.test_contract import ClassTokenViT

CLASSES = 3
PRESETS = ROOT / "configs/_base_/probes"


class ColourDataset(BaseDataset):
    """Noisy images whose colour tells the class."""

    def __init__(self, length=12, seed=0, classes=CLASSES, noise=60, **kwargs):
        self.length, self.seed, self.classes, self.noise = length, seed, classes, noise
        super().__init__(
            metainfo=dict(classes=[str(index) for index in range(classes)]), serialize_data=False, **kwargs
        )

    def load_data_list(self):
        return [
            dict(img_path=f"{self.seed}_{index}.jpg", gt_label=index % self.classes) for index in range(self.length)
        ]

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        noise = np.random.default_rng((self.seed, idx)).normal(0, self.noise, (3, 32, 32))
        noise[info["gt_label"] % 3] += 60
        sample = BaseDataElement(metainfo=dict(img_path=info["img_path"]))
        sample.gt_label = torch.tensor([info["gt_label"]])
        return dict(inputs=torch.from_numpy(np.clip(noise + 90, 0, 255).astype(np.uint8)), data_samples=sample)


@pytest.fixture(scope="module", autouse=True)
def own_parts():
    """An encoder with class tokens and a dataset, in the registries only as long as the tests of this file run."""
    DATASETS.register_module(module=ColourDataset)
    MODELS.register_module(name="ClassTokenEncoder", module=ClassTokenViT)
    yield
    DATASETS.module_dict.pop("ColourDataset")
    MODELS.module_dict.pop("ClassTokenEncoder")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """File of the encoder's weights."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("encoder") / "encoder.pth"
    torch.save(ClassTokenViT().state_dict(), path)
    return str(path)


def preset(name, work_dir, encoder, **options):
    """A preset with a tiny encoder and tiny data."""
    cfg = load_config(str(PRESETS / f"{name}.py"), dict(num_classes=CLASSES, num_workers=0, **options))
    cfg.model.backbone = dict(type="ClassTokenEncoder", init_cfg=dict(type="Pretrained", checkpoint=encoder))
    cfg.work_dir = str(work_dir)
    for part, seed, length in (("train", 0, 12), ("val", 1, 9), ("test", 2, 9)):
        loader = cfg[f"{part}_dataloader"]
        loader.dataset = dict(type="ColourDataset", seed=seed, length=length)
        loader.batch_size = min(loader.batch_size, 4)
    cfg.test_evaluator = [dict(type="HeadAccuracy", choose=False)]
    cfg.default_hooks.logger.interval = 1
    return cfg


class Rates(Hook):
    """Learning rates of the heads in each iteration, and the heads' scores in each validation."""

    def __init__(self):
        self.rates, self.scores = [], []

    def before_train_iter(self, runner, *args, **kwargs):
        rates = {id(value): group["lr"] for group in runner.optim_wrapper.param_groups for value in group["params"]}
        self.rates.append([rates[id(head.weight)] for head in runner.bare_model.head.linears])

    def after_val_epoch(self, runner, metrics=None):
        self.scores.append(dict(metrics))


def train(cfg, **resume):
    cfg = Config({**cfg.to_dict(), **resume})
    runner, rates = build_runner(cfg), Rates()
    runner.register_hook(rates, "LOWEST")
    runner.train()
    return runner, rates


def checkpoint(path):
    return torch.load(path, weights_only=False)


POOLINGS = ["cls", "cls+mean", "last3", "last3+mean"]


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory, encoder):
    """A training with the preset dinov2: eight iterations, a validation every four."""
    work_dir = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    cfg = preset("dinov2", work_dir, encoder, max_iters=8, val_interval=4, poolings=POOLINGS)
    cfg.auto_scale_lr.base_batch_size = 1  # the batch is 4: as published, rates are multiplied by 4
    return cfg, *train(cfg)


def test_dinov2_schedule(dinov2):
    """SGD with momentum, each rate times the share of 256 images, cosine to 0 by iteration."""
    _, runner, seen = dinov2
    rates = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]
    assert len(runner.bare_model.head) == 52
    for iteration, found in enumerate(seen.rates):
        expected = [4 * rate * (1 + math.cos(math.pi * iteration / 8)) / 2 for rate in rates] * 4
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    group = runner.optim_wrapper.param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 0, False)
    assert runner.bare_model.head.names[0] == "classifier_1_blocks_avgpool_False_lr_0_00004"
    assert runner.bare_model.head.names[51] == "classifier_3_blocks_avgpool_True_lr_0_40000"


def test_dinov2_published_values():
    cfg = load_config(str(PRESETS / "dinov2.py"), {})
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].T_max == 12500
    assert cfg.train_dataloader.batch_size == 1024
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=256)
    assert len(cfg.model.head.lr_mults) * len(cfg.model.readout.poolings) == 52
    assert cfg.model.head.init_std == 0.01
    names = [step.type for step in cfg.train_pipeline]
    assert names == ["LoadImage", "RandomResizedCrop", "mmseg.RandomFlip", "PackClassInputs"]
    resize, crop = cfg.test_pipeline[1:3]
    assert (resize.size, resize.interpolation, crop.crop_size) == (256, "bicubic", 224)


def test_best_head_is_chosen_and_kept(dinov2, tmp_path):
    """The last checkpoint has the choice of the last validation, and a test uses it."""
    cfg, runner, seen = dinov2
    final = seen.scores[-1]
    saved = checkpoint(f"{cfg.work_dir}/iter_8.pth")
    record = saved["meta"][META_KEY]
    top1 = [scores["top1"] for scores in record["scores"].values()]
    index = top1.index(max(top1))  # the first of the best
    assert len(top1) == 52
    assert final["head"] == index == saved["state_dict"]["head.chosen"] == runner.bare_model.head.chosen
    assert final["top1"] == max(top1)
    assert record["iteration"] == 8
    assert record["names"] == list(record["scores"]) == runner.bare_model.head.names
    assert record["head"] == record["names"][index]
    assert not any(name.startswith("backbone.") for name in saved["state_dict"])  # the encoder has a file of its own

    tested = build_runner(
        Config({**cfg.to_dict(), "load_from": f"{cfg.work_dir}/iter_8.pth", "work_dir": str(tmp_path)})
    )
    scores = tested.test()
    head = tested.bare_model.head
    assert scores["head"] == index
    assert head.names == record["names"]
    assert scores["top1"] > 100 / CLASSES
    log = "\n".join(path.read_text() for path in tmp_path.glob("*/*.log"))
    assert f"probe: head {record['head']} of 52 is tested, chosen at iteration 8" in log


def test_a_resumed_run_chooses_the_same_head(dinov2, tmp_path, encoder):
    cfg, _, _ = dinov2
    whole = checkpoint(f"{cfg.work_dir}/iter_8.pth")

    class Stop(Exception):
        pass

    class At6(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 6:
                raise Stop

    cut = Config({**cfg.to_dict(), "work_dir": str(tmp_path)})
    torch.manual_seed(0)
    runner = build_runner(cut)
    runner.register_hook(At6())
    with pytest.raises(Stop):
        runner.train()
    train(cut, resume=True)
    resumed = checkpoint(tmp_path / "iter_8.pth")
    assert resumed["meta"][META_KEY] == whole["meta"][META_KEY]
    assert resumed["state_dict"].keys() == whole["state_dict"].keys()
    assert all(torch.equal(value, whole["state_dict"][name]) for name, value in resumed["state_dict"].items())


def test_samantics_schedule(tmp_path, encoder):
    """The rate halves as ReduceLROnPlateau's does in Lightning, and training stops after 7 epochs without improvement."""
    cfg = preset("samantics", tmp_path, encoder, max_epochs=14)
    assert (cfg.optim_wrapper.optimizer, cfg.optim_wrapper.clip_grad) == (
        dict(type="Adam", lr=1e-3),
        dict(max_norm=1.0),
    )
    # Labels that the features contradict: the validation loss rises from the second epoch on.
    cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.clip_grad.max_norm = 0.05, 1.0
    cfg.val_dataloader.dataset.update(seed=9, noise=400)
    _, seen = train(cfg)
    losses = [scores["val_loss"] for scores in seen.scores]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.05)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
    best, waited = math.inf, 0
    for epoch, loss in enumerate(losses):
        assert seen.rates[3 * epoch][0] == optimizer.param_groups[0]["lr"]
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        assert (waited >= 7) == (epoch + 1 == len(losses) < 14)
        reference.step(loss)
    assert len(losses) < 14
    assert optimizer.param_groups[0]["lr"] == 0.025
    assert [metric for metric in seen.scores[0] if metric in ("head", "top5")] == []
    best = max(range(len(losses)), key=lambda epoch: seen.scores[epoch]["top1"])
    assert (tmp_path / f"best_top1_epoch_{best + 1}.pth").is_file()


def test_fair_preset(tmp_path, encoder):
    """Batch norm of features, the rates as they are, and the best checkpoint has the choice of its validation."""
    cfg = preset("fair", tmp_path, encoder, max_epochs=5, poolings=["mean", "cls"])
    cfg.train_cfg.val_interval = 1
    runner, seen = train(cfg)
    assert len(runner.bare_model.head) == 26
    assert runner.bare_model.norm.num_batches_tracked == 15
    assert seen.rates[-1][0] == pytest.approx(1e-5 * (1 + math.cos(math.pi * 14 / 15)) / 2)
    (best,) = tmp_path.glob("best_top1_epoch_*.pth")
    epoch = int(best.stem.rpartition("_")[2])
    saved, scores = checkpoint(best), seen.scores[epoch - 1]
    assert scores["top1"] == max(each["top1"] for each in seen.scores)
    assert saved["state_dict"]["head.chosen"] == scores["head"]
    assert saved["meta"][META_KEY]["select"] == "held_out"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda cfg: cfg.val_dataloader.dataset.update(seed=2),
            "validation has the test images.*or set select='val' as DINOv2's authors did",
        ),
        (
            lambda cfg: cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None),
            "52 heads are trained, and there is no validation to choose one",
        ),
        (lambda cfg: cfg.optim_wrapper.update(clip_grad=dict(max_norm=1.0)), "all 52 heads by their common norm"),
        (
            lambda cfg: cfg.train_dataloader.dataset.update(classes=4),
            "the train data have 4 classes: set num_classes=4",
        ),
        (
            lambda cfg: cfg.auto_scale_lr.update(base_batch_size=256),
            "heads are named .*_lr_0_00000: their learning rates",
        ),
    ],
    ids=["test images", "no validation", "clipping", "classes", "names"],
)
def test_settings_that_would_spoil_the_choice_are_errors(tmp_path, encoder, change, message):
    cfg = preset("dinov2", tmp_path, encoder, max_iters=2, val_interval=2, poolings=POOLINGS)
    cfg.auto_scale_lr.base_batch_size = 1
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        build_runner(cfg).train()


def test_choosing_on_test_images_is_opt_in(tmp_path, encoder):
    cfg = preset("dinov2", tmp_path, encoder, max_iters=1, val_interval=1, poolings=POOLINGS, select="val")
    cfg.auto_scale_lr.base_batch_size = 1
    cfg.val_dataloader.dataset.update(seed=2)
    train(cfg)
    assert checkpoint(tmp_path / "iter_1.pth")["meta"][META_KEY]["select"] == "val"
    log = "\n".join(path.read_text() for path in tmp_path.glob("*/*.log"))
    assert "is the best of 52 on the validation images (select='val')" in log


def test_a_metric_without_choice_is_an_error(tmp_path, encoder):
    """A test of several heads before any was chosen."""
    cfg = preset("fair", tmp_path, encoder)
    runner = build_runner(Config({**cfg.to_dict(), "load_from": "untrained"}))
    with pytest.raises(RuntimeError, match="no head was chosen yet"):
        runner.test()


def test_checkpoint_of_another_probe(tmp_path, encoder):
    """Another number of heads means another config or encoder, before its entries are compared."""
    runner = build_runner(preset("fair", tmp_path, encoder))
    heads = len(runner.model.head)
    checkpoint = dict(meta=dict(samplug_probe=dict(names=["a", "b"])))
    with pytest.raises(ConfigError, match=f"has 2 heads and the model {heads}: .* on another encoder"):
        runner.call_hook("after_load_checkpoint", checkpoint=checkpoint)
