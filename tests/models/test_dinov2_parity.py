"""Equality of DINOv2 with the original implementation and with transformers, from every layout of weights."""

import json
import re

import pytest
import torch

from samplug.checkpoints import load_weights
from samplug.registry import MODELS

CLOSE = dict(rtol=0, atol=1e-5)
SIZES = ["518x518", "224x224", "196x252"]


def dinov2(sizes, **kwargs):
    return MODELS.build(dict(type="DINOv2ViT", arch=sizes, **kwargs)).eval()


def in_transformers_layout(state, table, width):
    """Rename by the recipes of a published size, whose rows are scaled to this width."""
    found = {}
    for key, source in table.items():
        recipe = dict(source) if isinstance(source, dict) else {"from": source}
        if (name := recipe.pop("from")) not in state:  # deeper blocks
            continue
        value = state[name]
        if rows := recipe.pop("rows", None):
            value = value[rows[0] * width // 384 : rows[1] * width // 384]
        assert not recipe
        found[key] = value.clone()
    return found


def in_training_layout(state, _):
    """As DINOv2's own training saves: the teacher with its heads, and blocks in two chunks."""
    chunked = {re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 2}.{m[1]}", key): state[key] for key in state}
    heads = {"dino_head.last_layer.weight_v": torch.zeros(2, 2), "ibot_head.mlp.0.bias": torch.zeros(2)}
    return {"teacher": {f"backbone.{key}": value.clone() for key, value in chunked.items()} | heads}


LAYOUTS = {
    "official": lambda state, _: {key: value.clone() for key, value in state.items()},
    "training": in_training_layout,
    "hub": lambda state, keys: in_transformers_layout(state, keys["hub_from_official"], 64),
    "memory": lambda state, keys: in_transformers_layout(state, keys["memory_from_official"], 64),
    "classifier": lambda state, keys: (
        {f"dinov2.{key}": value for key, value in LAYOUTS["hub"](state, keys).items()}
        | {"classifier.weight": torch.zeros(2, 128), "classifier.bias": torch.zeros(2)}
    ),
}


@pytest.fixture(scope="module", params=["dinov2_tiny", "dinov2_reg_tiny"])
def reference(request, parity, test_data):
    """The reference tensors, the model's sizes, and the names of a published size in transformers."""
    found = parity(f"{request.param}.pt")
    config = found["config"]
    sizes = dict(
        embed_dims=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        num_registers=config["num_register_tokens"],
    )
    name = "dinov2_vits14_reg4" if sizes["num_registers"] else "dinov2_vits14"
    return found, sizes, json.loads((test_data / f"parity/keys/{name}.hf.json").read_text())


def images_of(found, size):
    height, width = map(int, size.split("x"))
    image = found["image"][:height, :width].permute(2, 0, 1) / 255
    return ((image - found["mean"][:, None, None]) / found["std"][:, None, None])[None]


def loaded(reference, layout, path):
    """The encoder with the reference's weights, by way of a file."""
    found, sizes, keys = reference
    torch.save(LAYOUTS[layout](found["state_dict"], keys), path)
    encoder = dinov2(sizes)
    report = load_weights(encoder, str(path))
    assert report.fits
    assert set(report.loaded) == set(encoder.state_dict())
    return encoder


@pytest.fixture(scope="module", params=["official", "hub"])
def original(request, reference, tmp_path_factory):
    return reference[0], loaded(reference, request.param, tmp_path_factory.mktemp("dinov2") / "weights.pth")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(reference, layout, tmp_path):
    """The same values, whatever the names in the file."""
    state = loaded(reference, layout, tmp_path / "weights.pth").state_dict()
    assert state.keys() == reference[0]["state_dict"].keys() - {"mask_token"}
    assert all(torch.equal(value, reference[0]["state_dict"][name]) for name, value in state.items())


@pytest.mark.parametrize("size", SIZES)
def test_original(original, size):
    """Class token and patches of the last block, and what linear evaluation reads of the last four."""
    found, encoder = original
    assert [f"{height}x{width}" for height, width in found["sizes"]] == SIZES
    expected, images = found["outputs"][size], images_of(found, size)
    with torch.no_grad():
        every = encoder.tokens(images, range(-4, 0))
        (maps,) = encoder(images)
    assert torch.equal(maps, every[-1].patches)
    torch.testing.assert_close(every[-1].class_token, expected["cls"], **CLOSE)
    torch.testing.assert_close(maps.flatten(2).transpose(1, 2), expected["patch"], **CLOSE)
    torch.testing.assert_close(torch.stack([each.class_token for each in every]), expected["last4_cls"], **CLOSE)
    means = torch.stack([each.patches.mean((2, 3)) for each in every])
    torch.testing.assert_close(means, expected["last4_patch_mean"], **CLOSE)


def test_positions_as_in_transformers(reference):
    """The switch changes what differs, plain models at other sizes than their table's, and nothing else."""
    found, sizes, _ = reference
    official, theirs = dinov2(sizes), dinov2(sizes, pos_interp="hf")
    for encoder in (official, theirs):
        encoder.load_state_dict({key: value for key, value in found["state_dict"].items() if key != "mask_token"})
    differing = []
    for size in SIZES:
        expected, images = found["outputs"][size], images_of(found, size)
        with torch.no_grad():
            (tokens,) = theirs.tokens(images)
            differing.append(not torch.equal(tokens.patches, official(images)[0]))
        assert differing[-1] == ("hf_cls" in expected) == (expected["hf_max_abs_difference"] > 1e-4)
        torch.testing.assert_close(tokens.class_token, expected.get("hf_cls", expected["cls"]), **CLOSE)
        patches = tokens.patches.flatten(2).transpose(1, 2)
        torch.testing.assert_close(patches, expected.get("hf_patch", expected["patch"]), **CLOSE)
    assert differing == ([False, False, False] if sizes["num_registers"] else [False, True, True])


@pytest.mark.parametrize("ffn", ["mlp", "swiglu"])
@pytest.mark.parametrize("registers", [0, 3])
def test_transformers_agrees(tmp_path, ffn, registers):
    """Random weights of transformers' model, in the file that it saves; non-square inputs, another patch size."""
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    sizes = dict(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=40,
        patch_size=8,
        use_swiglu_ffn=ffn == "swiglu",
    )
    torch.manual_seed(0)
    if registers:
        theirs = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers))
    else:
        theirs = Dinov2Model(Dinov2Config(**sizes))
    for parameter in theirs.eval().parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    arch = dict(embed_dims=48, depth=2, num_heads=3, num_registers=registers, ffn=ffn, patch_size=8, pos_grid=5)
    encoder = dinov2(arch, img_size=40, pos_interp="hf")
    assert load_weights(encoder, str(tmp_path / "model.safetensors")).fits
    for height, width in ((40, 40), (24, 64), (72, 8)):
        images = torch.randn(2, 3, height, width)
        with torch.no_grad():
            expected = theirs(images).last_hidden_state
            (tokens,) = encoder.tokens(images)
        torch.testing.assert_close(tokens.class_token, expected[:, 0], rtol=1e-4, atol=1e-5)
        patches = tokens.patches.flatten(2).transpose(1, 2)
        torch.testing.assert_close(patches, expected[:, 1 + registers :], rtol=1e-4, atol=1e-5)
