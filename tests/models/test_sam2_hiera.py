"""SAM 2's encoder: sizes, adapters, checkpointing, stochastic depth."""

import copy

import pytest
import torch

from samplug.models.backbones.sam2_hiera import SAM2_ARCHS, drop_branch
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_HIERA, tiny_hiera


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_any_frame_size(size):
    """One set of weights fits every size."""
    model = tiny_hiera(img_size=size, frozen=True)
    model.load_state_dict(tiny_hiera().state_dict())
    shapes = [tuple(feature.shape) for feature in model(torch.randn(1, 3, size, size))]
    assert shapes == [(1, 256, size // stride, size // stride) for stride in (4, 8, 16)]


def gradients(model, images):
    sum(feature.square().mean() for feature in model(images)).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_checkpointing_changes_nothing_but_memory():
    plain, saving = tiny_hiera(drop_path_rate=0.5), tiny_hiera(drop_path_rate=0.5, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    images, found = torch.randn(4, 3, 64, 64), []
    for model in (plain, saving):
        torch.manual_seed(1)
        found.append(gradients(model.train(), images))
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-6)


def test_stochastic_depth_skips_whole_branches_of_an_image():
    model = tiny_hiera(arch=dict(TINY_HIERA, stages=[1, 2, 2, 2]), drop_path_rate=0.5).train()
    tokens, last = torch.randn(64, 9, 9, 128), model.depth - 1  # four windows of 7 for an image
    changed = (model.run_block(last, tokens) != tokens).any(-1).flatten(1)
    assert torch.equal(changed.any(1), changed.all(1))
    assert 0 < (~changed).all(1).sum() < 32  # both branches skipped: a quarter
    assert (model.eval().run_block(last, tokens) != tokens).any(-1).all()
    first = torch.randn(64, 9, 9, 16)
    assert torch.equal(model.train().run_block(0, first), model.eval().run_block(0, first))


def test_expectation_is_kept():
    branch = torch.randn(1, 2, 2, 8).expand(4000, -1, -1, -1)
    torch.testing.assert_close(drop_branch(branch, 0.3).mean(0), branch[0], rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("size", [32, 64, 96])
def test_blocks_are_those_of_transformers(size):
    """Bit for bit, whatever the padding of windows; without stochastic depth."""
    from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

    model = tiny_hiera().eval()
    model.init_weights()
    theirs = Sam2HieraDetModel(model.trunk.config).eval()
    state = model.trunk.state_dict()
    names = {
        "norm1.": "layer_norm1.",
        "norm2.": "layer_norm2.",
        "mlp.layers.0": "mlp.proj_in",
        "mlp.layers.1": "mlp.proj_out",
    }
    for ours, other in {**names, "patch_embed.proj.": "patch_embed.projection."}.items():
        state = {key.replace(ours, other): value for key, value in state.items()}
    theirs.load_state_dict(state)
    tokens = torch.randn(2, size // 4, size // 4, 16)
    expected = tokens
    for index, block in enumerate(theirs.blocks):
        expected = block(expected)
        tokens = model.run_block(index, tokens)
        assert torch.equal(tokens, expected)


def test_copies_are_independent():
    model = tiny_hiera(drop_path_rate=0.2)
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data.zero_()
    images = torch.randn(1, 3, 64, 64)
    assert all(feature.abs().max() == 0 for feature in twin(images))
    assert all(feature.abs().max() > 0 for feature in model(images))


@pytest.mark.parametrize("arch", SAM2_ARCHS)
def test_published_sizes_fit_each_other(arch):
    with torch.device("meta"):
        model = MODELS.build(dict(type="SAM2Hiera", arch=arch))
    assert model.depth == sum(SAM2_ARCHS[arch]["stages"])
    globals_ = [index for index, block in enumerate(model.trunk.blocks) if block.window_size == 0]
    assert globals_ == list(SAM2_ARCHS[arch]["global_attn_blocks"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(arch="hiera_x"), "not one of"),
        (dict(arch=dict(embed_dims=16)), "lacks"),
        (dict(arch=dict(TINY_HIERA, width=3)), r"unknown keys \['width'\]"),
        (dict(arch=dict(TINY_HIERA, stages=[1, 2, 2])), "4 positive numbers"),
        (dict(arch=dict(TINY_HIERA, num_heads=3)), "multiple of num_heads"),
        (dict(arch=dict(TINY_HIERA, global_attn_blocks=[3])), "begin a stage"),
        (dict(arch=dict(TINY_HIERA, global_attn_blocks=[6])), "outside the 6 blocks"),
        (dict(img_size=48), "multiple of 32"),
        (dict(img_size=64, arch=dict(TINY_HIERA, window_spec=[6, 4, 14, 7])), "multiple of 96"),
        (dict(drop_path_rate=1.0), "drop_path_rate"),
    ],
)
def test_bad_configs_say_what_is_wrong(config, message):
    with pytest.raises(ConfigError, match=message):
        tiny_hiera(**config)
