"""SAM-Adapter and LoRA do what their descriptions say."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F

from samplug.checkpoints import load_weights
from samplug.models.adapters import build_adapter
from samplug.models.adapters.high_pass import high_pass
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import tiny_hiera, tiny_segmentor, tiny_vit


@pytest.mark.parametrize(("arch", "published"), [("vit_b", 63_312), ("vit_l", 116_544), ("vit_h", 186_960)])
def test_published_size_of_sam_adapter(arch, published):
    with torch.device("meta"):
        adapter = build_adapter(dict(type="SAMAdapter"), MODELS.build(dict(type="SAMViT", arch=arch)))
    assert sum(parameter.numel() for parameter in adapter.parameters()) == published


def test_sam_adapter_prompts_every_block():
    """Written out: what is added to the input of each block, the first included, and nothing behind the last."""
    model = tiny_segmentor(adapter=dict(type="SAMAdapter", reduction=8))
    encoder, adapter, images = model.backbone, model.adapter, torch.randn(2, 3, 64, 64)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    patches = encoder.patch_embed(images)
    edges = F.conv2d(high_pass(images), adapter.high_pass_tune.proj.weight, adapter.high_pass_tune.proj.bias, stride=16)
    task = F.linear(patches, adapter.patch_tune.weight, adapter.patch_tune.bias) + edges.permute(0, 2, 3, 1)
    tokens = patches + encoder.pos_embed
    for block, tune in zip(encoder.blocks, adapter.block_tunes, strict=True):
        prompt = F.gelu(F.linear(task, tune.weight, tune.bias))
        tokens = block(tokens + F.linear(prompt, adapter.up.weight, adapter.up.bias))
    torch.testing.assert_close(model.extract_feat(images)[0], encoder.neck(tokens.permute(0, 3, 1, 2)))


def lora(**kwargs):
    model = tiny_segmentor(adapter=dict(type="LoRAAdapter", **kwargs))
    model.init_weights()
    return model


def stirred(model):
    """The same model with updates that are not zero."""
    for name, parameter in model.adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("targets", [["qkv"], ["qkv", "proj", "lin1", "lin2"]])
def test_lora_starts_as_the_plain_encoder(targets):
    model, plain, images = lora(target_modules=targets), tiny_vit(), torch.randn(1, 3, 64, 64)
    plain.load_state_dict(model.backbone.state_dict())
    (expected,) = plain(images)
    assert torch.equal(model.extract_feat(images)[0], expected)
    assert (stirred(model).extract_feat(images)[0] - expected).abs().max() > 1e-3


def test_lora_is_a_low_rank_update_of_the_weights():
    model, plain, images = stirred(lora(r=2, alpha=6)), tiny_vit(), torch.randn(1, 3, 64, 64)
    state = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    for index in range(3):
        down, up = (model.adapter.state_dict()[f"layers.blocks-{index}-attn-qkv.lora_{x}.default.weight"] for x in "AB")
        assert down.shape == (2, 48)
        state[f"blocks.{index}.attn.qkv.weight"] += 3 * up @ down
    plain.load_state_dict(state)
    torch.testing.assert_close(model.extract_feat(images)[0], plain(images)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [tiny_vit, tiny_hiera])
def test_lora_leaves_convolutions_alone(build):
    """The patch embedding is a convolution called ``proj``."""
    encoder = build(frozen=True)
    linear = {name for name, module in encoder.named_modules() if isinstance(module, torch.nn.Linear)}
    adapter = build_adapter(dict(type="LoRAAdapter", target_modules=["qkv", "proj"]), encoder)
    names = {name.replace("-", ".") for name in adapter.layers}
    assert names == {name for name in linear if name.endswith(("qkv", "proj"))}


def test_lora_drops_in_training_only():
    """The frozen encoder stays in eval mode; the updates inside it do not."""
    model, images = stirred(lora(dropout=0.5)), torch.randn(1, 3, 64, 64)
    model.train()
    assert not torch.equal(model.extract_feat(images)[0], model.extract_feat(images)[0])
    model.eval()
    assert torch.equal(model.extract_feat(images)[0], model.extract_feat(images)[0])


def test_sam_file_fits_an_encoder_with_lora(tmp_path):
    source, model = tiny_vit(), stirred(lora())
    source.init_weights()
    before = {name: value.clone() for name, value in model.adapter.state_dict().items()}
    torch.save({f"image_encoder.{name}": value for name, value in source.state_dict().items()}, tmp_path / "sam.pth")
    load_weights(model.backbone, str(tmp_path / "sam.pth"))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.backbone.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in model.adapter.state_dict().items())


def test_a_copy_of_a_model_with_lora_is_whole():
    """As EMA makes one: its updates act on its own encoder."""
    model, images = stirred(lora()), torch.randn(1, 3, 64, 64)
    twin = copy.deepcopy(model)
    expected = model.extract_feat(images)[0]
    for parameter in model.parameters():
        parameter.data.zero_()
    assert torch.equal(twin.extract_feat(images)[0], expected)


def test_lora_without_peft_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'samplug\[peft\]'"):
        lora()
