"""The configs of TS-SAM say what was published, and fit the published weights."""

import json
import math
import re
from functools import cache
from typing import Any

import pytest
import torch
from mmengine.config import Config

from samplug.checkpoints.loading import load_state
from samplug.config import load_config
from samplug.model_index import names, resolve
from samplug.registry import MODELS, PARAM_SCHEDULERS
from tests.conftest import ROOT

FOLDER = ROOT / "configs/tssam"
PATTERN = re.compile(r"ts-sam(-side)?_sam-vit-([blh])_(4xb2|1xb2)-(\d+)e_(cod|sod|shadow|polyp)-1024")
LEAVES = sorted(path.stem for path in FOLDER.glob("*.py") if PATTERN.fullmatch(path.stem))
# Loss, FFT branch, epochs, what the best checkpoint is best in. Polyp: the recipe of COD.
PUBLISHED: dict[str, tuple[str, bool, int, tuple[str, str]]] = {
    "cod": ("bce_iou", False, 80, ("S", "greater")),
    "sod": ("bce_iou", False, 80, ("S", "greater")),
    "shadow": ("balanced_bce", True, 100, ("BER", "less")),
    "polyp": ("bce_iou", False, 80, ("mDice", "greater")),
}
SETS = {
    "cod": ("COD-train", ["CAMO", "CHAMELEON", "COD10K", "NC4K"]),
    "sod": ("DUTS-TR", ["DUTS-TE", "ECSSD", "DUT-OMRON", "HKU-IS", "PASCAL-S"]),
    "shadow": ("ISTD-train", ["ISTD"]),
    "polyp": ("Polyp-train", ["CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir"]),
}
# Adapter and decoder, without and with the FFT branch; frozen encoder.
PARAMETERS = {
    "b": ({False: 11_892_865, True: 12_089_729}, 89_670_912),
    "h": ({False: 29_437_569, True: 29_634_433}, 637_026_048),
}


@cache
def config(name: str) -> Config:
    return load_config(name)


def meta_model(name: str) -> torch.nn.Module:
    """The model at its published size, without memory for its weights."""
    with torch.device("meta"):
        return MODELS.build(config(name).model)


def parts(name: str) -> tuple[bool, str, str, int, str]:
    match = PATTERN.fullmatch(name)
    assert match
    side, arch, plan, epochs, task = match.groups()
    return bool(side), arch, plan, int(epochs), task


def test_what_there_is():
    plain = {(arch, plan, task) for side, arch, plan, _, task in map(parts, LEAVES) if not side}
    assert plain >= {(arch, "4xb2", task) for arch in "blh" for task in PUBLISHED}
    assert plain >= {(arch, "1xb2", task) for arch in "bh" for task in ("cod", "sod", "shadow")}
    assert any(parts(name)[0] for name in LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_published_settings(name):
    side, arch, plan, epochs, task = parts(name)
    loss, use_fft, published_epochs, (best, rule) = PUBLISHED[task]
    cfg = config(name)
    assert epochs == (published_epochs if plan == "4xb2" else published_epochs // 4)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (epochs, 1)
    assert cfg.optim_wrapper == dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=8e-4, weight_decay=0.01))
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size={"4xb2": 8, "1xb2": 2}[plan])
    assert cfg.train_dataloader.batch_size == 2
    assert (cfg.default_hooks.checkpoint.save_best, cfg.default_hooks.checkpoint.rule) == (best, rule)
    assert cfg.default_hooks.sync_buffers.type == "SyncBuffersHook"

    model = cfg.model
    assert (model.backbone.arch, model.backbone.img_size) == (f"vit_{arch}", 1024)
    assert model.adapter.get("use_fft", False) == use_fft
    assert (model.adapter.get("feedback", True), model.adapter.get("spatial_embedding", False)) == (not side, side)
    if task == "shadow":
        assert model.loss == (dict(type=loss, sync=True) if plan == "4xb2" else dict(type=loss))
    else:
        assert model.loss == loss


@pytest.mark.parametrize("name", [name for name in LEAVES if "vit-b" in name])
def test_learning_rate(name):
    """Epoch e of T: 1e-7 + (8e-4 - 1e-7) (1 + cos(pi e / T)) / 2."""
    cfg = config(name)
    (schedule,) = cfg.param_scheduler
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=cfg.optim_wrapper.optimizer.lr)
    scheduler = PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=optimizer))
    total = cfg.train_cfg.max_epochs
    for epoch in range(total):
        expected = 1e-7 + (8e-4 - 1e-7) * (1 + math.cos(math.pi * epoch / total)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-6)
        optimizer.step()
        scheduler.step()


def test_every_config_is_looked_at():
    full = sorted({path.stem for path in FOLDER.glob("*.py")} - set(LEAVES))
    assert full == ["ts-sam-full_sam-vit-h_8xb1-20e_cod-1024"]
    cfg = config(full[0])
    assert not cfg.model.backbone.frozen
    assert cfg.strategy.type == "FSDPStrategy"
    assert cfg.optim_wrapper.optimizer == dict(type="AdamW", lr=2e-5, weight_decay=0.01)
    assert [schedule.end for schedule in cfg.param_scheduler] == [1, cfg.train_cfg.max_epochs] == [1, 20]
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size


@pytest.mark.parametrize("name", LEAVES)
def test_sets(name):
    """Trained on the training set, chosen on a part of it that training leaves out, tested on the rest."""
    cfg = config(name)
    train, val, test = (cfg[f"{phase}_dataloader"].dataset for phase in ("train", "val", "test"))
    assert (train.name, [leaf["name"] for leaf in test.get("datasets", [test])]) == SETS[parts(name)[4]]
    assert (train.part, val.part) == ("train", "val")
    own = ("name", "part", "pipeline")
    assert {k: v for k, v in train.items() if k not in own} == {k: v for k, v in val.items() if k not in own}
    assert [metric["type"] for metric in cfg.val_evaluator] == [metric["type"] for metric in cfg.test_evaluator]


@pytest.mark.parametrize("name", LEAVES)
def test_the_head_says_what_it_is(name):
    head = (FOLDER / f"{name}.py").read_text().partition("\n_base_ =")[0]
    for fact in ("# Train: ", " Test: ", "# Validation: ", " Published result: ", " Memory: "):
        assert fact in head, fact
    assert {"b": "ViT-B", "l": "ViT-L", "h": "ViT-H"}[parts(name)[1]] in head


@pytest.mark.parametrize("name", LEAVES)
def test_sam_weights_can_be_a_file(name):
    cfg = load_config(name, {"sam_checkpoint": "/my/sam.pth", "img_size": 512, "data_root": "/my/data"})
    assert cfg.model.backbone.init_cfg == dict(type="Pretrained", checkpoint="/my/sam.pth")
    assert cfg.model.backbone.img_size == 512
    for phase in ("train", "val", "test"):
        dataset: Any = cfg[f"{phase}_dataloader"].dataset
        for leaf in dataset.get("datasets", [dataset]):
            assert leaf["data_root"].startswith("/my/data")
            assert [step["scale"] for step in leaf["pipeline"] if "scale" in step] == [(512, 512)]


@pytest.mark.parametrize("name", LEAVES)
def test_size(name):
    _, arch, _, _, task = parts(name)
    model = meta_model(name)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.backbone.parameters())
    assert trained + frozen == sum(p.numel() for p in model.parameters())
    if arch in PARAMETERS:
        assert (trained, frozen) == (PARAMETERS[arch][0][PUBLISHED[task][1]], PARAMETERS[arch][1])


@pytest.mark.parametrize("name", LEAVES)
def test_published_files_fit(name, test_data):
    """A file with exactly the official names and shapes: of SAM into the encoder, of TS-SAM into the whole."""
    _, arch, _, _, task = parts(name)
    model = meta_model(name)

    def file(stem: str) -> dict[str, torch.Tensor]:
        shapes = json.loads((test_data / f"parity/keys/{stem}.json").read_text())
        return {
            key: torch.empty(shape, device="meta", dtype=torch.int64 if "num_batches" in key else None)
            for key, shape in shapes.items()
        }

    report = load_state(model.backbone, file(f"sam_vit_{arch}"), "sam.pth")
    assert set(report.loaded) == set(model.backbone.state_dict())
    assert not report.resized
    if arch in PARAMETERS:  # the released sizes
        report = load_state(model, file(f"{'sd' if task == 'shadow' else 'cod'}_tssam_vit_{arch}"), "ts_sam.pth")
        assert set(report.loaded) == set(model.state_dict())


@pytest.mark.parametrize("name", LEAVES)
def test_listed(name):
    """In the metafile, with the weights that the config starts from, and in the table of the README."""
    assert name in names()
    model = resolve(name)
    assert model.config == FOLDER / f"{name}.py"
    assert model.sources == (config(name).sam_checkpoint,)
    assert config(name).model.backbone.init_cfg.checkpoint == config(name).sam_checkpoint
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if f"[`{name}`]({name}.py)" in line]
    assert len(rows) == 1
    _, train, test, *_ = (cell.strip() for cell in rows[0].strip("|").split("|"))
    images = config(name).train_dataloader.dataset.published.images
    assert f"({images:,})" in train
    for dataset in SETS[parts(name)[4]][1]:
        assert dataset.removesuffix("-LaribPolypDB") in test
