"""The configs of SAM-Adapter, LoRA and decoder-only fine-tuning say what they are, and fit SAM's files."""

import json
import re

import pytest
import torch

from samplug.checkpoints.loading import load_state
from samplug.config import load_config
from samplug.model_index import names, resolve
from tests.conftest import ROOT
from tests.test_tssam_configs import PUBLISHED, SETS, config, meta_model

PATTERN = re.compile(r"(sam-adapter|lora|decoder-only)_sam-vit-([bh])_1xb2-20e_(cod|sod|shadow|polyp)-1024")
LEAVES = sorted(
    path.stem for folder in ("sam_adapter", "lora", "decoder_only") for path in (ROOT / "configs" / folder).glob("*.py")
)
# SAM's decoder: what moves its answer without prompts, and all of prompt encoder and mask decoder.
DECODER, WHOLE_DECODER = 3_506_560, 6_220 + 4_058_340
ADAPTERS = {
    ("sam-adapter", "b"): 63_312,
    ("sam-adapter", "h"): 186_960,
    ("lora", "b"): 12 * 8 * (768 + 3 * 768),
    ("lora", "h"): 32 * 8 * (1280 + 3 * 1280),
    ("decoder-only", "b"): 0,
    ("decoder-only", "h"): 0,
}
TYPES = {"sam-adapter": "SAMAdapter", "lora": "LoRAAdapter"}


def parts(name: str) -> tuple[str, str, str]:
    match = PATTERN.fullmatch(name)
    assert match, name
    return match[1], match[2], match[3]


def folder(name: str):
    return ROOT / "configs" / parts(name)[0].replace("-", "_")


def test_what_there_is():
    there = {parts(name) for name in LEAVES}
    assert there >= {(method, "b", task) for method in ("sam-adapter", "lora", "decoder-only") for task in PUBLISHED}
    assert there >= {(method, "h", "cod") for method in ("sam-adapter", "lora", "decoder-only")}


@pytest.mark.parametrize("name", LEAVES)
def test_settings(name):
    method, arch, task = parts(name)
    loss, _, _, (best, rule) = PUBLISHED[task]
    cfg = config(name)
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[0].T_max) == (20, 20)
    assert cfg.optim_wrapper == dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01))
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (2, 2)
    assert (cfg.default_hooks.checkpoint.save_best, cfg.default_hooks.checkpoint.rule) == (best, rule)
    assert (cfg.model.backbone.arch, cfg.model.backbone.img_size) == (f"vit_{arch}", 1024)
    assert (cfg.model.adapter.type if "adapter" in cfg.model else None) == TYPES.get(method)
    assert cfg.model.loss == (dict(type=loss) if task == "shadow" else loss)
    train, test = (cfg[f"{phase}_dataloader"].dataset for phase in ("train", "test"))
    assert (train.name, [leaf["name"] for leaf in test.get("datasets", [test])]) == SETS[task]


@pytest.mark.parametrize("name", LEAVES)
def test_size(name):
    method, arch, _ = parts(name)
    model = meta_model(name)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == ADAPTERS[method, arch] + DECODER
    assert sum(p.numel() for p in model.decode_head.parameters()) == WHOLE_DECODER
    if method == "sam-adapter":  # published: with all of the mask decoder, and the no-mask vector
        heads = sum(p.numel() for p in model.decode_head.mask_decoder.parameters() if not p.requires_grad)
        assert trained + heads == {"b": 4_121_908, "h": 4_245_556}[arch]


@pytest.mark.parametrize("name", LEAVES)
def test_sam_weights_can_be_a_file(name):
    model = load_config(name, {"sam_checkpoint": "/my/sam.pth", "img_size": 512}).model
    for part in (model.backbone, model.decode_head):
        assert part.init_cfg == dict(type="Pretrained", checkpoint="/my/sam.pth")
    assert model.backbone.img_size == 512


@pytest.mark.parametrize("name", LEAVES)
def test_published_files_fit(name, test_data):
    """A file with exactly the official names and shapes gives encoder and decoder all that they have."""
    model = meta_model(name)
    shapes = json.loads((test_data / f"parity/keys/sam_vit_{parts(name)[1]}.json").read_text())
    file = {
        key: torch.empty(shape, device="meta", dtype=torch.int64 if "num_batches" in key else None)
        for key, shape in shapes.items()
    }
    loaded = 0
    for part in (model.backbone, model.decode_head):
        report = load_state(part, file, "sam.pth")
        assert set(report.loaded) == set(part.state_dict())
        assert not report.resized
        loaded += len(report.loaded)
    assert loaded == len(file)


@pytest.mark.parametrize("name", LEAVES)
def test_listed(name):
    """In the metafile, with the weights that the config starts from, and in the table of the README; and it says what it is."""
    assert name in names()
    assert resolve(name).config == folder(name) / f"{name}.py"
    assert resolve(name).sources == (config(name).sam_checkpoint,)
    rows = [line for line in (folder(name) / "README.md").read_text().splitlines() if f"[`{name}`]({name}.py)" in line]
    assert len(rows) == 1
    _, train, test, *_ = (cell.strip() for cell in rows[0].strip("|").split("|"))
    assert f"({config(name).train_dataloader.dataset.published.images:,})" in train
    for dataset in SETS[parts(name)[2]][1]:
        assert dataset.removesuffix("-LaribPolypDB") in test
    head = (folder(name) / f"{name}.py").read_text().partition("\n_base_ =")[0]
    for fact in (
        "# Train: ",
        " Test: ",
        "# Validation: ",
        " Published result: ",
        " Memory: ",
        f"ViT-{parts(name)[1].upper()}",
    ):
        assert fact in head, fact


@pytest.mark.parametrize("method", ["sam_adapter", "lora", "decoder_only"])
def test_readme_gives_the_sizes(method):
    text = (ROOT / f"configs/{method}/README.md").read_text()
    counts = [DECODER, *(ADAPTERS[method.replace("_", "-"), arch] for arch in "bh")]
    assert all(f"{count:,}" in text for count in counts if count)
    assert (f"{WHOLE_DECODER - DECODER:,}" in text) == (method == "sam_adapter")
