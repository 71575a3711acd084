"""DINOv2's encoder: sizes, tokens, adapters, checkpointing, maps on disk."""

import pytest
import torch
from mmseg.structures import SegDataSample

from samplug.models.backbones.dinov2_vit import DINOV2_ARCHS
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_DINOV2, save_encoder, tiny_dinov2


def randomised(**kwargs):
    """At its start a block changes next to nothing (LayerScale)."""
    model = tiny_dinov2(**kwargs)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 48), (32, 80), (16, 160)])
def test_any_multiple_of_the_patch_size(height, width):
    model, images = randomised(frozen=True), torch.randn(2, 3, height, width)
    (maps,) = model(images)
    assert maps.shape == (2, 48, height // 16, width // 16)
    for each in model.tokens(images, range(3)):
        assert each.patches.shape == maps.shape
        assert each.class_token.shape == (2, 48)
    torch.testing.assert_close(model(images[1:])[0], maps[1:])


def test_a_patch_is_where_its_pixels_are():
    """Rows and columns are not exchanged, and no token is shifted by the class token and the registers."""
    model = randomised().eval()
    torch.nn.init.zeros_(model.pos_embed)
    images = torch.zeros(1, 3, 48, 80)
    images[..., 16:32, 48:64] = 1.0
    differs = (model(images)[0] != model(torch.zeros_like(images))[0]).all(1)
    (before,) = model.tokens(images, (0,), norm=False)
    direct = model.embed(images)[:, 1 + model.num_registers :]
    changed = (direct != model.embed(torch.zeros_like(images))[:, 1 + model.num_registers :]).any(-1)
    assert changed.nonzero().tolist() == [[0, 5 + 3]]
    assert differs.all()  # attention is global
    odd = (before.patches - before.patches.flatten(2).median(2).values[..., None, None]).abs().sum(1)
    assert odd.flatten().argmax() == 5 + 3


def test_norm_is_applied_to_any_block():
    model, images = randomised().eval(), torch.randn(1, 3, 64, 64)
    (plain,), (normed,) = (model.tokens(images, (1,), norm=norm) for norm in (False, None))
    torch.testing.assert_close(model.norm(plain.class_token), normed.class_token)
    torch.testing.assert_close(model.norm(plain.patches.movedim(1, -1)).movedim(-1, 1), normed.patches)


def gradients(model, images):
    (model.tokens(images)[0].class_token.square().sum() + model(images)[0].square().sum()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_checkpointing_changes_nothing_but_memory():
    plain, saving = randomised().train(), randomised(with_cp=True).train()
    images, blocks = torch.randn(2, 3, 32, 48), []
    expected = gradients(plain, images)
    saving.run_block = lambda index, tokens: blocks.append(index) or type(saving).run_block(saving, index, tokens)
    found = gradients(saving, images)
    assert len(blocks) == 2 * 2 * saving.depth  # twice forward and backward
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(gradient, found[name], rtol=1e-4, atol=1e-5)


def test_lora_in_every_linear_layer():
    targets = ["qkv", "proj", "fc1", "fc2"]
    model, images = randomised(frozen=True), torch.randn(1, 3, 32, 48)
    names, before = list(model.state_dict()), model(images)[0]
    adapter = MODELS.build(dict(type="LoRAAdapter", r=2, target_modules=targets))
    adapter.attach(model)
    assert list(model.state_dict()) == names
    assert len(adapter.layers) == len(targets) * model.depth
    assert torch.equal(model(images)[0], before)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted = model(images)[0]
    adapted.square().sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    # Added to the weights, the updates give the same features.
    merged = randomised(frozen=True)
    state = merged.state_dict()
    for name, update in adapter.updates().items():
        state[name] = state[name] + update
    merged.load_state_dict(state)
    torch.testing.assert_close(merged(images)[0], adapted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted, before, atol=1e-2)


def test_lora_in_gated_layers():
    model = tiny_dinov2(arch=dict(TINY_DINOV2, ffn="swiglu"), frozen=True)
    adapter = MODELS.build(dict(type="LoRAAdapter", target_modules=["w12", "w3"]))
    adapter.attach(model)
    assert {name.rpartition(".")[0] for name in adapter.updates()} == {
        f"blocks.{index}.mlp.{layer}" for index in range(3) for layer in ("w12", "w3")
    }


def test_maps_on_disk(tmp_path):
    """Read back as computed, for inputs of several sizes; another interpolation of positions is another store."""
    encoder = dict(type="DINOv2ViT", arch=TINY_DINOV2, img_size=64)
    weights = save_encoder(tmp_path / "encoder.pth", encoder)

    def cached(**kwargs):
        cfg = dict(encoder, init_cfg=dict(type="Pretrained", checkpoint=weights), **kwargs)
        return MODELS.build(dict(type="CachedEncoder", encoder=cfg, cache_dir=str(tmp_path / "maps"), dtype="float32"))

    model = cached()
    assert model.interpolation == "bicubic"
    for key, size in (("square", (64, 64)), ("wide", (32, 80))):
        images, sample = torch.randn(1, 3, *size), SegDataSample(metainfo=dict(pixels=key))
        expected = model(images)[0]
        for _ in range(2):
            torch.testing.assert_close(model.stored_or_computed(images, [sample])[0], expected)
        (tokens,) = model.tokens(images)
        torch.testing.assert_close(tokens.patches, expected)
        assert tokens.class_token.shape == (1, 48)
    assert (model.computed, model.read) == (2, 2)
    assert cached(pos_interp="hf").store.folder != model.store.folder


@pytest.mark.parametrize("arch", DINOV2_ARCHS)
def test_published_names(arch):
    with torch.device("meta"):
        model = MODELS.build(dict(type="DINOv2ViT", arch=arch))
    assert model.num_registers == (4 if arch.endswith("_reg4") else 0)
    assert (model.patch_size, model.pos_grid) == (14, 37)
    assert model.out_channels == model.embed_dims


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(arch="vits14_reg"), "not one of vitb14, vitb14_reg4, .*did you mean vits14_reg4"),
        (dict(arch=dict(embed_dims=16)), "lacks"),
        (dict(arch=dict(TINY_DINOV2, width=3)), r"unknown keys \['width'\]"),
        (dict(arch=dict(TINY_DINOV2, num_heads=5)), "multiple of num_heads"),
        (dict(arch=dict(TINY_DINOV2, ffn="gelu")), "ffn='gelu' is unknown: use one of mlp, swiglu"),
        (dict(arch=dict(TINY_DINOV2, num_registers=-1)), "num_registers=-1 must not be negative"),
        (dict(img_size=224, arch="vits14", pos_interp="bicubic"), "use one of official, hf"),
        (dict(img_size=256, arch="vits14"), "multiple of the patch size 14"),
    ],
)
def test_bad_configs_say_what_is_wrong(config, message):
    with pytest.raises(ConfigError, match=message):
        tiny_dinov2(**config)


def test_wrong_sizes_name_the_nearest_one():
    model = tiny_dinov2(arch=dict(TINY_DINOV2, patch_size=14), img_size=14)
    with pytest.raises(ConfigError, match=r"multiples of 14 pixels and got 225x3: .* for example to 224x14"):
        model(torch.zeros(1, 3, 225, 3))
