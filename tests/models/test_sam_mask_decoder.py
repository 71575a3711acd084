"""SAM's decoder: equal to the original with and without prompts, at any size."""

import copy

import pytest
import torch

from samplug.checkpoints import load_weights
from samplug.registry import MODELS

CASES = [
    "none", "point", "points_pos_neg", "points_pos_neg_pad", "box", "boxes3", "point_and_box", "point_and_mask", "mask", "all",
]  # fmt: skip


def decoder(**kwargs):
    return MODELS.build(dict(type="SAMMaskDecoder", **kwargs)).eval()


@pytest.fixture
def original(parity, tmp_path):
    """The reference tensors, and the decoder with their weights."""
    reference = parity("sam_tiny.pt")
    torch.save({key: value.clone() for key, value in reference["state_dict"].items()}, tmp_path / "sam.pth")
    model = decoder()
    report = load_weights(model, str(tmp_path / "sam.pth"))
    assert set(report.loaded) == {key for key in reference["state_dict"] if not key.startswith("image_encoder.")}
    return reference, model


@pytest.mark.parametrize("name", CASES)
def test_prompts(original, name):
    reference, model = original
    assert set(reference["prompts"]) == set(CASES)
    prompt, size = reference["prompts"][name], reference["config"]["image_size"]
    points, labels, boxes = (
        None if prompt[key] is None else prompt[key][None] for key in ("points", "labels", "boxes")
    )
    with torch.no_grad():
        sparse, dense = model.embed_prompts(size, size // 16, points, labels, boxes, prompt["mask"])
        for mode in ("single", "multi"):
            masks, iou, _ = model.decode((reference["image_embedding"],), sparse, dense, multimask=mode == "multi")
            expected = reference["cases"][name][mode]
            torch.testing.assert_close(masks[0], expected["low_res"], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(iou[0], expected["iou"], rtol=1e-4, atol=1e-5)


def test_as_decode_head(original):
    reference, model = original
    with torch.no_grad():
        logits = model((reference["image_embedding"],))
        # An image's answer does not depend on the others of its batch.
        batch = torch.cat([torch.randn_like(reference["image_embedding"]), reference["image_embedding"]])
        torch.testing.assert_close(model((batch,))[1:], logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, reference["cases"]["none"]["single"]["low_res"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grid", [1, 5, 8])
def test_any_grid(grid):
    assert decoder()((torch.randn(2, 256, grid, grid),)).shape == (2, 1, 4 * grid, 4 * grid)


def test_positions_are_exact_in_mixed_precision():
    model = decoder()
    expected = model.image_positions(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.image_positions(8, 8), expected)


@pytest.mark.parametrize("prompts", [False, True])
def test_what_is_trained(prompts):
    """Without prompts exactly what moves the answer; gradients that are only zeros count as none."""
    model = decoder(prompts=prompts)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model((torch.randn(1, 256, 4, 4),)).square().sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    everything = {name for name, _ in model.named_parameters()}
    trained = {name for name, p in decoder(prompts=prompts).named_parameters() if p.requires_grad}
    assert trained == (everything if prompts else reached)
    assert "prompt_encoder.no_mask_embed.weight" in reached < everything


def test_copies_are_independent():
    """Modules that are called under one name and registered under another stay one module in a copy."""
    model = decoder()
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data.zero_()
    image = torch.randn(1, 256, 4, 4)
    assert twin((image,)).abs().max() == 0
    assert model((image,)).abs().max() > 0
