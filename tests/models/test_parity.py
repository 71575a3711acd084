"""Equality with the original implementations and with transformers."""

import json

import pytest
import torch

from samplug.checkpoints import load_weights
from samplug.models.backbones.attention import ATTENTION_FORMS
from samplug.registry import MODELS
from tests.builders import from_fixture, released_names, tiny_vit

SIZES = {"vit_b": 89_670_912, "vit_l": 308_278_272, "vit_h": 637_026_048}
TRAINABLE = {
    "cod_tssam_vit_b": 11_892_865,
    "sd_tssam_vit_b": 12_089_729,
    "cod_tssam_vit_h": 29_437_569,
    "sd_tssam_vit_h": 29_634_433,
}


def _save(tmp_path, state):
    torch.save({key: value.clone() for key, value in state.items()}, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.mark.parametrize("attention", sorted(ATTENTION_FORMS))
def test_sam_encoder(parity, tmp_path, attention):
    reference = parity("sam_tiny.pt")
    config = reference["config"]
    arch = dict(embed_dims=config["embed_dim"], depth=config["depth"], num_heads=config["num_heads"],
                global_attn_indexes=config["global_attn_indexes"], window_size=config["window_size"])  # fmt: skip
    model = tiny_vit(arch=arch, img_size=config["image_size"], attention=attention).eval()
    load_weights(model, _save(tmp_path, reference["state_dict"]))
    with torch.no_grad():
        embedding = model(reference["preprocessed"])[0]
    torch.testing.assert_close(embedding, reference["image_embedding"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("entry", ["iou", "fft_bbce"])
def test_ts_sam(parity, tmp_path, entry):
    reference = parity("tssam_tiny.pt")[entry]
    model = MODELS.build(from_fixture(reference))
    load_weights(model, _save(tmp_path, reference["state_dict"]))
    names = released_names(model.state_dict(), reference["state_dict"])

    model.eval()
    with torch.no_grad():
        features = model.extract_feat(reference["input"])
        for ours, theirs in zip(features, reference["eval"]["features"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(model.decode_head(features), reference["eval"]["logits"], rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(model(reference["input"]), reference["eval"]["masks"], rtol=1e-4, atol=2e-4)

    model.train()
    expected = reference["train"]
    logits = model(reference["input"])
    torch.testing.assert_close(logits, expected["pred_mask"], rtol=1e-4, atol=2e-4)
    losses = model.loss_fn(logits, reference["gt"])
    for name, value in losses.items():
        key = {"loss_bce": "bce", "loss_iou": "iou", "loss_balanced_bce": "bbce"}[name]
        assert value.item() == pytest.approx(expected["loss"][key], rel=1e-4)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        theirs = names[name]
        assert (parameter.grad is None) == (theirs in expected["not_trained"]), name
        if parameter.grad is not None:
            assert parameter.grad.norm().item() == pytest.approx(expected["grad_norms"][theirs], rel=8e-3, abs=1e-6), (
                name
            )
    gradients = {names[name]: parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in expected["grads"].items():
        # The original's own norms move by 8e-4 with the kernels.
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())
    buffers = {names[name]: value for name, value in model.state_dict().items()}
    for name, value in expected["buffers_after"].items():
        torch.testing.assert_close(buffers[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", SIZES)
def test_published_encoders(test_data, arch):
    keys = json.loads((test_data / "parity" / "keys" / f"sam_{arch}.json").read_text())
    encoder = {
        key.removeprefix("image_encoder."): tuple(shape)
        for key, shape in keys.items()
        if key.startswith("image_encoder.")
    }
    with torch.device("meta"):
        model = MODELS.build(dict(type="SAMViT", arch=arch))
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == encoder
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[arch]


@pytest.mark.parametrize("name", TRAINABLE)
def test_published_ts_sam(test_data, name):
    released = json.loads((test_data / "parity" / "keys" / f"{name}.json").read_text())
    with torch.device("meta"):
        model = MODELS.build(
            dict(
                type="TSSAM",
                backbone=dict(type="SAMViT", arch=name[-5:]),
                adapter=dict(type="TSSAMSideNetwork", use_fft=name.startswith("sd")),
            )
        )
    own = model.state_dict()
    table = released_names(own, released)
    assert {table[key]: list(value.shape) for key, value in own.items()} == released
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == TRAINABLE[name]


def test_transformers_encoder_agrees(tmp_path):
    from transformers import SamModel, SamVisionConfig
    from transformers.models.sam.configuration_sam import SamConfig

    vision = SamVisionConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=3, image_size=112, window_size=3,
        global_attn_indexes=[1], mlp_dim=192, output_channels=256, initializer_range=0.1,
    )  # fmt: skip
    theirs = SamModel(SamConfig(vision_config=vision)).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(tmp_path)
    model = tiny_vit(img_size=112).eval()
    load_weights(model, str(tmp_path / "model.safetensors"))
    images = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[0], theirs.get_image_embeddings(images), rtol=1e-4, atol=1e-4)
