"""The configs of TextureSAM follow the published recipe, and their sets are read in the published layouts."""

import pytest

from samplug.config import load_config
from samplug.model_index import names, resolve
from tests.conftest import ROOT

LEAVES = sorted(path.stem for path in (ROOT / "configs/texture").glob("*.py"))
TRAINED = [name for name in LEAVES if name.startswith("texturesam")]
FILES = {"t": "tiny", "s": "small", "b-plus": "base_plus", "l": "large"}
ARCHS = {"t": "hiera_t", "s": "hiera_s", "b-plus": "hiera_b+", "l": "hiera_l"}


def test_what_there_is():
    assert {f"masks_sam2.1-hiera-s_{name}-1024" for name in ("rwtd", "stmd", "ade20k")} <= set(LEAVES)
    for size in ARCHS:
        assert f"masks_sam2.1-hiera-{size}_rwtd-1024" in LEAVES
        assert f"texturesam-mild_sam2.1-hiera-{size}_1xb1-40e_ade20k-1024" in TRAINED
    assert set(LEAVES) <= set(names())


@pytest.mark.parametrize("name", LEAVES)
def test_model(name):
    size = name.split("_")[1].removeprefix("sam2.1-hiera-")
    cfg = load_config(name)
    assert cfg.model.backbone.arch == ARCHS[size]
    assert cfg.model.backbone.frozen == (name not in TRAINED)
    assert cfg.model.geometry == "squash"
    assert cfg.model.mask_generator == dict(preset="texturesam")
    assert load_config(name, dict(preset="sam2")).model.mask_generator == dict(preset="sam2")
    for part in (cfg.model.backbone, cfg.model.decode_head):
        assert part.init_cfg.checkpoint.endswith(f"/sam2.1_hiera_{FILES[size]}.pt")
        assert resolve(f"sam2.1-hiera-{size}").weights == part.init_cfg.checkpoint
    assert [metric.get("mode", "strict") for metric in cfg.test_evaluator] == ["strict", "texturesam"]


@pytest.mark.parametrize("name", TRAINED)
def test_published_recipe(name):
    cfg = load_config(name)
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (40, 1)
    (schedule,) = cfg.param_scheduler
    assert (schedule.type, schedule.T_max, schedule.eta_min_ratio) == ("CosineAnnealingLR", 40, 0.1)
    assert cfg.optim_wrapper.optimizer == dict(type="AdamW", lr=5e-6, weight_decay=0.1)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.1)
    recipe = cfg.optim_wrapper.paramwise_cfg
    assert recipe.custom_keys.backbone.lr_mult * 5e-6 == pytest.approx(3e-6)
    assert (recipe.layer_decay, recipe.bias_decay_mult, recipe.norm_decay_mult) == (0.9, 0.0, 0.0)
    data = cfg.train_dataloader.dataset
    assert (data.type, data.max_objects, data.part, data.min_area) == ("SA1BDataset", 3, None, 0)
    assert data.data_root == f"data/ADE20K_textured_{name.split('_')[0].removeprefix('texturesam-')}"
    assert cfg.model.train_prompts == dict(type="PromptSimulator")  # a box for half of the objects, 7 corrections
    assert cfg.default_hooks.checkpoint.keep == [19, 25]
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


@pytest.mark.parametrize("name", ["masks_sam2.1-hiera-s_stmd-1024", TRAINED[0]])
def test_sets_are_chosen_by_a_variable(name):
    cfg = load_config(name, dict(test_sets=["ade20k", "rwtd"], rwtd_root="/r", rwtd_image_dir="images_textured"))
    instances, rwtd = cfg.test_dataloader.dataset.datasets
    assert (instances.name, instances.layout) == ("ADE20K", "ade20k")
    assert (rwtd.data_root, rwtd.image_dir, rwtd.layout) == ("/r", "images_textured", "rwtd")
    stmd = load_config("masks_sam2.1-hiera-s_stmd-1024").test_dataloader.dataset.datasets
    assert [(leaf.layout, leaf.ann_file) for leaf in stmd] == [("stmd", "test.txt")]
