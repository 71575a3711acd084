"""CLIP's weight files: OpenAI's, open_clip's and Hugging Face's, with and without the text part."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel

from samplug.checkpoints import WeightsError, load_weights
from samplug.checkpoints.families import FAMILIES, describe, recognise
from samplug.checkpoints.loading import load_state
from samplug.config import load_config
from samplug.models.backbones import build_encoder
from samplug.registry import MODELS
from tests.builders import TINY_CLIP, tiny_clip, tiny_segmentor, tiny_vit
from tests.checkpoints.test_loading import assert_equal, official_sam, randomised
from tests.conftest import ROOT

PUBLISHED = {"vit_b32": "ViT-B/32", "vit_b16": "ViT-B/16", "vit_l14": "ViT-L/14"}
# The text part of the official files, among it names that an image encoder has too.
TEXT = {
    "positional_embedding": (77, 16), "text_projection": (16, 24), "logit_scale": (), "token_embedding.weight": (99, 16),
    "transformer.resblocks.0.attn.in_proj_weight": (48, 16), "ln_final.weight": (16,), "input_resolution": (),
    "context_length": (), "vocab_size": (),
}  # fmt: skip


def encoder_names(state):
    """The official names of the image encoder."""
    return {key.replace(".attn.in_proj.", ".attn.in_proj_"): value.clone() for key, value in state.items()}


def official(model):
    state = {f"visual.{key}": value for key, value in encoder_names(model.state_dict()).items()}
    return {key: torch.zeros(shape) for key, shape in TEXT.items()} | state


def open_clip_with_text_tower(model):
    state = official(model)
    return {key if key.startswith("visual.") else f"text.{key}": value for key, value in state.items()}


def hub_state(model):
    """Written out for one encoder: rows of query, key and value, the transposed projection."""
    names = {
        "conv1.": "embeddings.patch_embedding.", "positional_embedding": "embeddings.position_embedding.weight",
        "class_embedding": "embeddings.class_embedding", "ln_pre.": "pre_layrnorm.", "ln_post.": "post_layernorm.",
        "transformer.resblocks.": "encoder.layers.", ".attn.": ".self_attn.", ".ln_1.": ".layer_norm1.",
        ".ln_2.": ".layer_norm2.", ".mlp.c_fc.": ".mlp.fc1.", ".mlp.c_proj.": ".mlp.fc2.",
    }  # fmt: skip
    state = {}
    for key, value in model.state_dict().items():
        if key == "proj":
            state["visual_projection.weight"] = value.T.contiguous()
            continue
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        if ".in_proj." in key:
            for letter, rows in zip("qkv", value.chunk(3), strict=True):
                state[f"vision_model.{key.replace('.in_proj.', f'.{letter}_proj.')}"] = rows.clone()
        else:
            state[f"vision_model.{key}"] = value.clone()
    return state


def hub_with_text(model):
    return hub_state(model) | {
        "text_model.embeddings.token_embedding.weight": torch.zeros(99, 16),
        "text_projection.weight": torch.zeros(24, 16),
        "logit_scale": torch.zeros(()),
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        "text_model.embeddings.position_ids": torch.arange(77)[None],
    }


LAYOUTS = {
    "OpenAI": official,
    "open_clip": open_clip_with_text_tower,
    "visual alone": lambda model: {k: v for k, v in official(model).items() if k.startswith("visual.")},
    "encoder alone": lambda model: encoder_names(model.state_dict()),
    "CLIPVisionModelWithProjection": hub_state,
    "CLIPModel": hub_with_text,
    "wrapped": lambda model: dict(epoch=3, state_dict={f"module.{k}": v for k, v in official(model).items()}),
    "samplug": lambda model: {f"backbone.{key}": value for key, value in model.state_dict().items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("project", [True, False])
def test_every_layout(tmp_path, layout, project):
    """Into an encoder with the projection, and into one without it, which leaves that entry alone out."""
    source, target = randomised(tiny_clip(project=True)), tiny_clip(project=project)
    torch.save(LAYOUTS[layout](source), tmp_path / "clip.pt")
    report = load_weights(target, str(tmp_path / "clip.pt"))
    assert report.fits
    assert not report.resized
    assert set(report.loaded) == set(target.state_dict())
    assert_equal(target, source)


def test_safetensors_in_half_precision_into_a_whole_model(tmp_path):
    source, model = randomised(tiny_clip()), nn.Module()
    save_file({key: value.half() for key, value in hub_with_text(source).items()}, tmp_path / "model.safetensors")
    model.backbone = build_encoder(
        dict(
            type="CLIPViT",
            arch=TINY_CLIP,
            img_size=64,
            init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "model.safetensors")),
        )
    )
    model.backbone.init_weights()
    assert load_state(model, {"backbone." + key: value for key, value in source.state_dict().items()}, "own").fits
    model.backbone.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value.half().float())


def test_files_of_transformers():
    """A whole model, its image part, and that of transformers 5 in memory, whose names have no prefix."""
    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    vision = dict(
        hidden_size=32, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=64, patch_size=16
    )
    hub, images = (
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval(),
        torch.randn(1, 3, 64, 64),
    )
    randomised(hub)
    model = tiny_clip(project=True).eval()
    load_state(model, hub.state_dict(), "hub")
    with torch.no_grad():
        found = model.project(model.tokens(images)[0].class_token)
        expected = hub.visual_projection(hub.vision_model(images).pooler_output)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    bare = {key.removeprefix("vision_model."): value for key, value in hub.vision_model.state_dict().items()}
    plain = tiny_clip()
    assert load_state(plain, bare, "hub").fits
    assert_equal(plain, model)
    with pytest.raises(
        WeightsError, match=r"1 missing in the file: proj\s.*fix: the file has no projection: set project=F"
    ):
        load_state(model, bare, "hub")


@pytest.mark.parametrize("arch", PUBLISHED)
def test_published_files(test_data, arch):
    """Names and shapes of OpenAI's files and of the Hub's; the numbers are on the meta device."""
    folder = test_data / "parity/keys"
    keys = json.loads((folder / f"clip_{arch}.json").read_text())
    table = json.loads((folder / f"clip_{arch}.hf.json").read_text())
    with torch.device("meta"):
        own = MODELS.build(dict(type="CLIPViT", arch=arch, project=True)).state_dict()
        files = [{key: torch.empty(shape) for key, shape in names.items()} for names in (keys, table["hub_names"])]
    for state, name in zip(files, ("CLIP", "CLIP (Hugging Face)"), strict=True):
        converted = recognise(state).convert(state)
        assert {key: value.shape for key, value in converted.items()} == {
            f"backbone.{key}": value.shape for key, value in own.items()
        }
        assert describe(state) == f"{name} {PUBLISHED[arch]} for 224 px"


@pytest.mark.parametrize("arch", PUBLISHED)
def test_hub_names_are_the_official_ones(test_data, arch):
    table = json.loads((test_data / f"parity/keys/clip_{arch}.hf.json").read_text())
    theirs, hub = (
        next(family for family in FAMILIES if family.name == name) for name in ("CLIP", "CLIP (Hugging Face)")
    )
    width = table["hub_names"]["vision_model.post_layernorm.weight"][0]
    for key, source in table["hub_from_official"].items():
        place = hub.rename(key)
        if isinstance(source, str):
            assert place == theirs.rename(source)
            continue
        assert place.name == theirs.rename(source["from"])
        assert source.get("transpose", False) == (not hasattr(place, "index"))
        if "rows" in source:
            assert source["rows"] == [place.index * width, (place.index + 1) * width]


@pytest.mark.parametrize("layout", ["OpenAI", "CLIPModel"])
def test_the_rule_is_strict(layout):
    """Every entry must be there, every part of query, key and value, and nothing unknown."""
    model = tiny_clip(project=True)
    whole = LAYOUTS[layout](model)
    prefix = "visual." if layout == "OpenAI" else "vision_model."
    block = "transformer.resblocks.1.attn." if layout == "OpenAI" else "encoder.layers.1.self_attn."
    parts = ("in_proj_weight", "in_proj_bias") if layout == "OpenAI" else ("k_proj.weight", "v_proj.bias")
    for part in (*parts, "out_proj.bias"):
        state = {key: value for key, value in whole.items() if key != f"{prefix}{block}{part}"}
        assert len(state) == len(whole) - 1
        with pytest.raises(WeightsError, match=r"1 missing in the file: transformer\.resblocks\.1\.attn\."):
            load_state(model, state, "clip.pt")
    with pytest.raises(WeightsError, match=r"1 unexpected in the file: (transformer|encoder)\.\w+\.1\.lora"):
        load_state(model, whole | {f"{prefix}{block[:-5].removesuffix('self_')}lora.weight": torch.zeros(1)}, "clip.pt")


@pytest.mark.parametrize(
    ("state", "module", "message"),
    [
        (official, tiny_vit, "looks like CLIP encoder of width 32 with 3 blocks, patch size 16 for 64 px"),
        (official, tiny_vit, "this module cannot take CLIP weights"),
        (hub_state, lambda: tiny_clip(arch=dict(TINY_CLIP, pretrain_img_size=96)), "positional_embedding: file .17, 32., module .37"),
        (hub_state, lambda: tiny_clip(arch=dict(TINY_CLIP, depth=2)), "set the arch of the file"),
        (
            official,
            lambda: tiny_segmentor(backbone=dict(type="CLIPViT", arch=TINY_CLIP), adapter=dict(type="LoRAAdapter", target_modules=["in_proj"])),
            "set it as init_cfg of model.backbone, not of the whole model",
        ),
        (lambda _: official_sam(tiny_vit()), tiny_clip, "looks like SAM"),
        (lambda _: {"visual.attnpool.c_proj.weight": torch.zeros(1)}, tiny_clip, "CLIP with another image encoder"),
        (lambda _: {"visual.trunk.norm.weight": torch.zeros(1)}, tiny_clip, "cannot take CLIP with another image encoder"),
    ],
)  # fmt: skip
def test_files_for_another_model_are_explained(state, module, message):
    with pytest.raises(WeightsError, match=f"(?s){message}"):
        load_state(module(), state(tiny_clip(project=True)), "file")


@pytest.mark.parametrize("size", ["b32", "b16", "l14"])
def test_base_configs(size):
    config = load_config(str(ROOT / f"configs/_base_/models/clip-vit-{size}.py"), dict(activation="gelu", img_size=448))
    with torch.device("meta"):
        encoder = build_encoder(config.model.backbone)
    assert encoder.frozen
    assert encoder.img_size == 448
    assert encoder.projection_dims == {"b32": 512, "b16": 512, "l14": 768}[size]
    assert encoder.patch_size == int(size[1:])
    assert isinstance(encoder.transformer.resblocks[0].mlp.gelu, nn.GELU)
    plain = load_config(str(ROOT / f"configs/_base_/models/clip-vit-{size}.py"))
    assert plain.model.backbone.activation == "quick_gelu"
