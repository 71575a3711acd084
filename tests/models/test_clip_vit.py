"""CLIP's encoder against transformers and open_clip's layout; sizes, projection, LoRA, checkpointing."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from samplug.checkpoints.loading import load_state
from samplug.models.adapters import build_adapter
from samplug.models.backbones.clip_vit import CLIP_ARCHS
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_CLIP, tiny_clip
from tests.checkpoints.test_loading import randomised

SIZES = [(64, 64), (96, 48), (32, 128), (16, 16)]


def hub_clip(activation: str = "quick_gelu"):
    """Transformers' model of the tiny size, with random weights that are not small."""
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=128,
        projection_dim=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=64,
        patch_size=16,
        hidden_act=activation,
    )
    model = CLIPVisionModelWithProjection(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


class Block(nn.Module):
    """A block in open_clip's layout."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.attn = nn.MultiheadAttention(32, 4)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(32, 128), gelu=activation, c_proj=nn.Linear(128, 32)),
        )

    def forward(self, x):
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * (1.702 * x).sigmoid()


class OpenCLIPVisual(nn.Module):
    """The image encoder in open_clip's and OpenAI's layout: tokens first, as ``nn.MultiheadAttention`` has them."""

    def __init__(self, activation: str = "quick_gelu") -> None:
        super().__init__()
        act = QuickGELU if activation == "quick_gelu" else nn.GELU
        self.conv1 = nn.Conv2d(3, 32, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(32))
        self.positional_embedding = nn.Parameter(torch.randn(17, 32))
        self.ln_pre, self.ln_post = nn.LayerNorm(32), nn.LayerNorm(32)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*(Block(act()) for _ in range(3)))
        self.proj = nn.Parameter(torch.randn(32, 24))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def forward(self, images):
        x = self.conv1(images).flatten(2).permute(2, 0, 1)
        x = torch.cat([self.class_embedding.expand(1, len(images), -1), x]) + self.positional_embedding[:, None]
        x = self.transformer.resblocks(self.ln_pre(x))
        return self.ln_post(x[0]) @ self.proj


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_equals_transformers(activation):
    """All blocks and the embedding, also at other sizes than that of the position table and for oblong images."""
    theirs, model = hub_clip(activation), tiny_clip(project=True, activation=activation).eval()
    load_state(model, theirs.state_dict(), "hub")
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        expected = theirs(images, interpolate_pos_encoding=True, output_hidden_states=True)
        found = model.tokens(images, range(3), norm=False)
        for tokens, hidden in zip(found, expected.hidden_states[1:], strict=True):
            torch.testing.assert_close(tokens.class_token, hidden[:, 0], rtol=1e-5, atol=1e-5)
            patches = hidden[:, 1:].transpose(1, 2).unflatten(2, (size[0] // 16, size[1] // 16))
            torch.testing.assert_close(tokens.patches, patches, rtol=1e-5, atol=1e-5)
        (last,) = model.tokens(images)
        embedding = model.project(last.class_token)
        assert embedding.shape == (2, model.projection_dims)
        torch.testing.assert_close(embedding, expected.image_embeds, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(images)[0], last.patches)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_equals_open_clip(activation):
    theirs, model = OpenCLIPVisual(activation).eval(), tiny_clip(project=True, activation=activation).eval()
    load_state(model, {f"visual.{key}": value for key, value in theirs.state_dict().items()}, "open_clip")
    images = torch.randn(2, 3, 64, 64)
    embedding = model.project(model.tokens(images)[0].class_token)
    torch.testing.assert_close(embedding, theirs(images), rtol=1e-4, atol=1e-5)
    # The wrong activation fits too, and gives something else.
    wrong = tiny_clip(project=True, activation="gelu" if activation == "quick_gelu" else "quick_gelu").eval()
    wrong.load_state_dict(model.state_dict())
    assert (wrong.project(wrong.tokens(images)[0].class_token) - embedding).abs().max() > 1e-2


def test_img_size_does_not_change_the_table():
    """One set of weights fits every input size; the preprocessor makes that of the config."""
    model = tiny_clip(img_size=96)
    model.load_state_dict(tiny_clip().state_dict())
    assert model(torch.randn(1, 3, 96, 96))[0].shape == (1, 32, 6, 6)
    assert model.preprocessor()["size"] == (96, 96)
    assert model.preprocessor()["mean"][0] == pytest.approx(0.48145466 * 255)


@torch.no_grad()
def test_half_precision():
    images, model = torch.randn(1, 3, 48, 64), tiny_clip(project=True).eval()
    expected = model.project(model.tokens(images)[0].class_token)
    model.bfloat16()
    found = model.project(model.tokens(images.bfloat16())[0].class_token)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.05)


def test_projection_is_an_option():
    """Without it there is no parameter that the maps do not need."""
    plain, whole = tiny_clip(), tiny_clip(project=True)
    assert set(whole.state_dict()) - set(plain.state_dict()) == {"proj"}
    assert (plain.projection_dims, whole.projection_dims) == (None, 24)
    with pytest.raises(ConfigError, match="built without projection: set project=True"):
        plain.project(torch.zeros(1, 32))


def test_checkpointing_changes_nothing_but_memory():
    plain, saving = randomised(tiny_clip()), tiny_clip(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    images, found, runs = torch.randn(2, 3, 64, 32), [], [0]
    for block in saving.transformer.resblocks:
        block.register_forward_pre_hook(lambda *_: runs.__setitem__(0, runs[0] + 1))
    for model in (plain, saving):
        model.train()(images)[0].square().mean().backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert runs == [6]  # each block starts once more in the backward pass
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("with_cp", [False, True])
def test_lora(with_cp):
    """On query, key and value, which ``nn.MultiheadAttention`` would hide; the encoder's names stay the same."""
    encoder, plain, images = tiny_clip(frozen=True, with_cp=with_cp), tiny_clip(), torch.randn(1, 3, 64, 48)
    names = list(encoder.state_dict())
    adapter = build_adapter(dict(type="LoRAAdapter", r=2, alpha=6, target_modules=["in_proj", "out_proj"]), encoder)
    state = load_state(encoder, OpenCLIPVisual().state_dict(), "open_clip")
    assert state.fits
    assert list(encoder.state_dict()) == names
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    updates = adapter.updates()
    assert set(updates) == {
        f"transformer.resblocks.{i}.attn.{part}_proj.weight" for i in range(3) for part in ("in", "out")
    }
    plain.load_state_dict({name: value + updates.get(name, 0) for name, value in encoder.state_dict().items()})
    features = encoder(images)[0]
    torch.testing.assert_close(features, plain(images)[0], rtol=1e-4, atol=1e-4)
    features.square().mean().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    with pytest.raises(ConfigError, match="not linear layers of CLIPViT; it has c_fc, c_proj, in_proj, out_proj"):
        build_adapter(dict(type="LoRAAdapter", target_modules=["query"]), tiny_clip(frozen=True))


@pytest.mark.parametrize(("arch", "millions"), [("vit_b32", 87.85), ("vit_b16", 86.19), ("vit_l14", 303.97)])
def test_published_sizes(arch, millions):
    """The numbers of parameters that open_clip states for the image encoders."""
    with torch.device("meta"):
        model = MODELS.build(dict(type="CLIPViT", arch=arch, project=True))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
    assert model.projection_dims == CLIP_ARCHS[arch]["projection_dims"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(arch="vit_b"), "not one of"),
        (dict(arch=dict(embed_dims=16)), "lacks"),
        (dict(arch=dict(TINY_CLIP, width=3)), r"unknown keys \['width'\]"),
        (dict(arch=dict(TINY_CLIP, num_heads=5)), "multiple of num_heads"),
        (dict(arch=dict(TINY_CLIP, pretrain_img_size=60)), "pretrain_img_size=60 must be a positive multiple"),
        (dict(img_size=70), "img_size=70 must be a positive multiple of the patch size 16"),
        (dict(activation="relu"), "activation='relu' is unknown: use one of quick_gelu, gelu"),
    ],
)
def test_bad_configs_say_what_is_wrong(config, message):
    with pytest.raises(ConfigError, match=message):
        tiny_clip(**config)


def test_empty_images_are_refused():
    with pytest.raises(ConfigError, match="multiples of 16 pixels and got 0x64"):
        tiny_clip()(torch.zeros(1, 3, 0, 64))
