"""DINOv2's weight files: published names, strictness, registers."""

import json

import pytest
import torch
from safetensors.torch import save_file

from samplug.checkpoints import WeightsError, load_weights
from samplug.checkpoints.families import describe, recognise
from samplug.checkpoints.loading import load_state
from samplug.models.backbones.dinov2_vit import DINOV2_ARCHS
from samplug.registry import MODELS
from tests.builders import TINY_DINOV2, offline_hub, tiny_dinov2, tiny_segmentor, tiny_vit
from tests.checkpoints.test_loading import assert_equal, randomised

SIZES = {"vits14": "ViT-S", "vitb14": "ViT-B", "vitl14": "ViT-L", "vitg14": "ViT-g"}


def on_meta(arch):
    with torch.device("meta"):
        return MODELS.build(dict(type="DINOv2ViT", arch=arch))


def official(model):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return state | {"mask_token": torch.zeros(1, model.embed_dims)}


@pytest.mark.parametrize("arch", DINOV2_ARCHS)
def test_published_files(test_data, arch):
    """Names and shapes of the official file, the Hub's and transformers' models in memory."""
    keys = json.loads((test_data / f"parity/keys/dinov2_{arch}.json").read_text())
    table = json.loads((test_data / f"parity/keys/dinov2_{arch}.hf.json").read_text())
    own = {f"backbone.{key}": value.shape for key, value in on_meta(arch).state_dict().items()}
    size, _, registers = arch.partition("_")
    sizes = f"{SIZES[size]}, {'4' if registers else 'no'} registers"
    layouts = {"DINOv2": [keys], "DINOv2 (Hugging Face)": [table["hub_names"], table["memory_names"]]}
    for family, files in layouts.items():
        for names in files:
            with torch.device("meta"):
                state = {key: torch.empty(shape) for key, shape in names.items()}
            assert {key: value.shape for key, value in recognise(state).convert(state).items()} == own
            assert describe(state) == f"{family} {sizes}"


@pytest.mark.parametrize("arch", ["vits14", "vitg14_reg4"])
def test_transformers_names_are_the_official_ones(test_data, arch):
    table = json.loads((test_data / f"parity/keys/dinov2_{arch}.hf.json").read_text())
    hub, theirs = recognise(table["hub_names"]), recognise(["mask_token"])
    for recipes in (table["hub_from_official"], table["memory_from_official"]):
        for key, source in recipes.items():
            place = hub.rename(key)
            if isinstance(source, str):
                assert place == theirs.rename(source)
            else:
                start, stop = source["rows"]
                assert place.name == theirs.rename(source["from"])
                assert (start, stop) == (place.index * (stop - start), (place.index + 1) * (stop - start))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])  # fmt: skip
def test_official_file(tmp_path, wrap):
    source, target = randomised(tiny_dinov2()), tiny_dinov2()
    torch.save(wrap(official(source)), tmp_path / "dinov2.pth")
    assert load_weights(target, str(tmp_path / "dinov2.pth")).fits
    assert_equal(source, target)
    torch.save(source.state_dict(), tmp_path / "own.pth")
    assert load_weights(tiny_dinov2(), str(tmp_path / "own.pth")).fits


def test_checkpoint_of_a_model(tmp_path):
    """A model's own names have the prefix of DINOv2's training checkpoints; its other parts are not taken for heads."""
    source, target = randomised(tiny_dinov2()), tiny_dinov2()
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    torch.save({"state_dict": state | {"heads.0.weight": torch.zeros(2, 48)}}, tmp_path / "own.pth")
    assert recognise(state).name == "samplug"
    assert load_weights(target, str(tmp_path / "own.pth"), prefix="backbone").fits
    assert_equal(source, target)


@pytest.mark.parametrize("registers", [0, 2])
def test_address_of_the_hub(tmp_path, monkeypatch, registers):
    """The layout of facebook/dinov2-small and facebook/dinov2-with-registers-small, as init_cfg of the encoder."""
    source = randomised(tiny_dinov2(arch=dict(TINY_DINOV2, num_registers=registers)))
    own = official(source)
    state = {"embeddings.cls_token": own["cls_token"], "embeddings.mask_token": own["mask_token"]}
    state |= {"embeddings.position_embeddings": own["pos_embed"]}
    state |= {"embeddings.register_tokens": own["register_tokens"]} if registers else {}
    for kind in ("weight", "bias"):
        state[f"embeddings.patch_embeddings.projection.{kind}"] = own[f"patch_embed.proj.{kind}"]
        state[f"layernorm.{kind}"] = own[f"norm.{kind}"]
        for index in range(3):
            ours, theirs = f"blocks.{index}", f"encoder.layer.{index}"
            for name, part in zip(("query", "key", "value"), own[f"{ours}.attn.qkv.{kind}"].split(48), strict=True):
                state[f"{theirs}.attention.attention.{name}.{kind}"] = part.clone()
            state[f"{theirs}.attention.output.dense.{kind}"] = own[f"{ours}.attn.proj.{kind}"]
            for layer in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{theirs}.{layer}.{kind}"] = own[f"{ours}.{layer}.{kind}"]
            for number in (1, 2):
                state[f"{theirs}.layer_scale{number}.lambda1"] = own[f"{ours}.ls{number}.gamma"]
    save_file(state, offline_hub(tmp_path, monkeypatch, "facebook/dinov2-small") / "model.safetensors")
    target = tiny_dinov2(
        arch=dict(TINY_DINOV2, num_registers=registers),
        init_cfg=dict(type="Pretrained", checkpoint="hf://facebook/dinov2-small"),
    )
    target.init_weights()
    assert_equal(source, target)


@pytest.mark.parametrize(("in_file", "in_model"), [("vits14_reg4", "vits14"), ("vits14", "vits14_reg4")])
@pytest.mark.parametrize("layout", ["official", "hub"])
def test_registers_on_one_side_only(test_data, in_file, in_model, layout):
    """Not ignored: features of a model without its registers are worthless."""
    name = {"official": f"dinov2_{in_file}.json", "hub": f"dinov2_{in_file}.hf.json"}[layout]
    names = json.loads((test_data / "parity/keys" / name).read_text())
    names = names["hub_names"] if layout == "hub" else names
    state = {key: torch.zeros(()).expand(shape) for key, shape in names.items()}
    text = "has registers, unlike" if in_file.endswith("reg4") else "lacks registers, unlike"
    with pytest.raises(WeightsError) as error:
        load_state(on_meta(in_model), state, "file.pth")
    message = str(error.value)
    kind = "unexpected" if in_file.endswith("reg4") else "missing"
    assert f"1 {kind} in the file: register_tokens" in message
    assert f"fix: the file {text} this encoder: set arch='{in_file}' in the encoder" in message


def test_files_for_another_model_are_explained():
    state = official(tiny_dinov2())
    with pytest.raises(WeightsError, match="looks like DINOv2 encoder of width 48 with 3 blocks, 2 registers"):
        load_state(tiny_vit(), state, "dinov2.pth")
    with pytest.raises(WeightsError, match="this module cannot take DINOv2 weights"):
        load_state(tiny_vit(), state, "dinov2.pth")
    with pytest.raises(WeightsError, match=r"(?s)3 blocks.*1 of another shape: register_tokens.*num_registers\)"):
        load_state(tiny_dinov2(arch=dict(TINY_DINOV2, num_registers=4)), state, "dinov2.pth")
    with pytest.raises(WeightsError, match=r"of another shape: pos_embed: (?s:.*)pos_grid of arch"):
        load_state(tiny_dinov2(arch=dict(TINY_DINOV2, pos_grid=4)), state, "dinov2.pth")
    whole = tiny_segmentor(backbone=dict(type="DINOv2ViT", arch=dict(TINY_DINOV2, embed_dims=256, num_heads=4)))
    with pytest.raises(WeightsError, match=r"holds the encoder alone: set it as init_cfg of model\.backbone"):
        load_state(whole, official(whole.backbone), "dinov2.pth")


def test_every_entry_must_be_there_and_be_known():
    model = tiny_dinov2()
    for key in ("cls_token", "blocks.2.ls2.gamma", "norm.bias"):
        state = official(model)
        del state[key]
        with pytest.raises(WeightsError, match=f"1 missing in the file: {key}"):
            load_state(model, state, "dinov2.pth")
    with pytest.raises(WeightsError, match=r"1 unexpected in the file: local_cls_norm\.weight"):
        load_state(model, official(model) | {"local_cls_norm.weight": torch.zeros(48)}, "dinov2.pth")


def test_rows_that_do_not_make_up_a_matrix_are_missing():
    hub = recognise(["encoder.layer.0.layer_scale1.lambda1"])
    q, k, v = (f"encoder.layer.0.attention.attention.{name}.weight" for name in ("query", "key", "value"))
    other = "encoder.layer.0.attention.q_proj.weight"
    rows = torch.zeros(2, 2)
    whole = {q: rows, v: rows + 2, k: rows + 1}
    assert hub.convert(whole)["backbone.blocks.0.attn.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    for state in ({q: rows, k: rows}, whole | {other: rows}, whole | {k: torch.zeros(3, 2)}):
        assert set(hub.convert(state)) == set(state)
    # The reverse gives the rows back.
    gathered = hub.gather(hub.convert(whole), list(whole))
    assert all(torch.equal(gathered[key], value) for key, value in whole.items())
