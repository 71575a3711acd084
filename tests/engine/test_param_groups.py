"""Trained parameters, their learning rates and weight decays."""

import pytest
import torch
from torch import nn

from samplug.engine.optim import TrainableOptimWrapperConstructor
from samplug.engine.param_groups import parameters_of, training_table
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_ARCH, TINY_HIERA

SAM2_RULES = dict(
    custom_keys=dict(backbone=dict(lr_mult=0.6)), bias_decay_mult=0.0, norm_decay_mult=0.0, layer_decay=0.9
)


def promptable(arch="hiera_s", **backbone):
    return MODELS.build(
        dict(
            type="PromptableSAM",
            backbone={"type": "SAM2Hiera", "arch": arch, "frozen": False, **backbone},
            decode_head=dict(type="SAM2MaskDecoder", prompts=True),
        )
    )


def rates(model, paramwise_cfg, lr=5e-6, weight_decay=0.1):
    """(lr, weight decay) of each parameter in the optimiser."""
    wrapper = TrainableOptimWrapperConstructor(
        dict(optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay)), paramwise_cfg
    )(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return wrapper, {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in wrapper.optimizer.param_groups
        for parameter in group["params"]
    }


def test_rules_of_sam2s_training():
    """Numbers of the published configuration of Hiera-S: 16 blocks, 3e-6 for the encoder, 5e-6 for the rest."""
    with torch.device("meta"):
        model = promptable()
    wrapper, found = rates(model, SAM2_RULES)
    assert set(found) == {name for name, _ in model.named_parameters()}
    expected = {
        "backbone.trunk.blocks.0.attn.qkv.weight": (3e-6 * 0.9**16, 0.1),
        "backbone.trunk.blocks.15.attn.qkv.weight": (3e-6 * 0.9, 0.1),
        "backbone.trunk.blocks.15.attn.qkv.bias": (3e-6 * 0.9, 0.0),
        "backbone.trunk.blocks.15.norm1.weight": (3e-6 * 0.9, 0.0),
        "backbone.trunk.patch_embed.proj.weight": (3e-6 * 0.9**17, 0.1),
        "backbone.trunk.pos_embed": (3e-6, 0.1),
        "backbone.trunk.pos_embed_window": (3e-6, 0.1),
        "backbone.neck.convs.0.conv.weight": (3e-6, 0.1),
        "backbone.neck.convs.0.conv.bias": (3e-6, 0.0),
        "decode_head.no_mem_embed": (5e-6, 0.1),
        "decode_head.sam_mask_decoder.transformer.norm_final_attn.weight": (5e-6, 0.0),
        # A norm over the channels of a map is none of torch's LayerNorm there.
        "decode_head.sam_mask_decoder.output_upscaling.1.weight": (5e-6, 0.1),
        "decode_head.sam_mask_decoder.output_upscaling.1.bias": (5e-6, 0.0),
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name
    # One group for each pair of rate and decay: 17 depths, the neck with the tables, the rest; each with and without decay.
    assert len(wrapper.optimizer.param_groups) == 2 * (17 + 1 + 1)


def test_without_rules_there_is_one_group():
    wrapper, found = rates(promptable(TINY_HIERA, img_size=64), None)
    assert len(wrapper.optimizer.param_groups) == 1
    assert set(found.values()) == {(5e-6, 0.1)}


def test_only_what_is_trained_is_optimised_and_the_table_says_so():
    model = promptable(TINY_HIERA, img_size=64, frozen=True)
    _, found = rates(model, dict(bias_decay_mult=0.0))
    assert {name.split(".")[0] for name in found} == {"decode_head"}
    table = training_table(parameters_of(model, {}), 5e-6, 0.1)
    lines = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    count = sum(parameter.numel() for parameter in model.backbone.trunk.parameters())
    assert lines["backbone.trunk"] == [f"{count:,}", "frozen", "-", "-"]
    trained = sum(parameter.numel() for parameter in model.decode_head.parameters())
    assert lines["all"][1:] == [f"{trained:,}", "5e-06", "0.1"]


def test_the_table_is_logged(monkeypatch):
    lines = []
    monkeypatch.setattr("samplug.engine.optim.print_log", lambda text, logger: lines.append(text))
    rates(promptable(TINY_HIERA, img_size=64), SAM2_RULES)
    assert "decode_head.sam_mask_decoder" in lines[0]
    assert "3e-06" in lines[0]


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (dict(layer_decy=0.9), "unknown key 'layer_decy'"),
        (dict(layer_decay=1.5), "not in"),
        (
            dict(custom_keys=dict(image_encoder=dict(lr_mult=2))),
            "'image_encoder'.*parts of the model are backbone.trunk",
        ),
        (dict(custom_keys=dict(backbone=dict(lr=2))), r"custom_keys\['backbone'\]"),
    ],
)
def test_rules_that_do_not_fit(cfg, message):
    with pytest.raises(ConfigError, match=message):
        rates(promptable(TINY_HIERA, img_size=64), cfg)


def test_more_rules_that_do_not_fit():
    with pytest.raises(ConfigError, match="set it"):
        rates(nn.Linear(2, 2), dict(bias_decay_mult=0.0), weight_decay=None)
    with pytest.raises(ConfigError, match="Linear has no backbone"):
        rates(nn.Linear(2, 2), dict(layer_decay=0.9))
    with pytest.raises(ConfigError, match="every parameter of Linear is frozen"):
        rates(nn.Linear(2, 2).requires_grad_(False), None)


def test_encoders_of_sam_decay_too():
    model = MODELS.build(
        dict(type="PromptableSAM", backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=64, frozen=False))
    )
    _, found = rates(model, dict(layer_decay=0.5), lr=1.0)
    assert [found[f"backbone.blocks.{k}.attn.rel_pos_h"][0] for k in range(3)] == [0.125, 0.25, 0.5]
    assert found["backbone.patch_embed.proj.weight"][0] == 0.0625
    assert found["backbone.pos_embed"][0] == found["decode_head.mask_decoder.iou_token.weight"][0] == 1.0


def test_shared_parameters_are_optimised_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    wrapper, _ = rates(model, None)
    assert sum(len(group["params"]) for group in wrapper.optimizer.param_groups) == 3


@pytest.mark.parametrize(
    ("clip_grad", "message"),
    [
        (dict(max_nrom=1.0), r" has no 'max_nrom'; did you mean max_norm\? \(its keys: type, max_norm, "),
        (dict(norm_type=2), r": missing a required argument: 'max_norm' \(its keys"),
        (dict(type="value", max_norm=1.0), r" has no 'max_norm'.*clip_value"),
    ],
)
def test_clipping_is_checked_before_the_first_step(clip_grad, message):
    cfg = dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=clip_grad)
    with pytest.raises(ConfigError, match=f"optimiser: clip_grad{message}"):
        TrainableOptimWrapperConstructor(cfg)(nn.Linear(2, 2))


@pytest.mark.parametrize("clip_grad", [dict(max_norm=1.0), dict(type="value", clip_value=0.5), None])
def test_right_clipping_is_built(clip_grad):
    cfg = dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=clip_grad)
    assert bool(TrainableOptimWrapperConstructor(cfg)(nn.Linear(2, 2)).clip_grad_kwargs) == bool(clip_grad)
