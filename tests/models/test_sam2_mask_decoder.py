"""SAM 2's decoder: what it is without the original's weights (test_sam2_parity.py has those)."""

import copy

import pytest
import torch

from samplug.registry import MODELS
from samplug.utils.errors import ConfigError


def decoder(**kwargs):
    return MODELS.build(dict(type="SAM2MaskDecoder", **kwargs)).eval()


def maps(batch: int = 1, grid: int = 4):
    return tuple(torch.randn(batch, 256, grid * scale, grid * scale) for scale in (4, 2, 1))


@pytest.mark.parametrize("grid", [1, 5, 8])
def test_as_decode_head(grid):
    model, features = decoder(), maps(2, grid)
    logits = model(features)
    assert logits.shape == (2, 1, 4 * grid, 4 * grid)
    # An image's answer does not depend on the others of its batch.
    torch.testing.assert_close(model([level[1:] for level in features]), logits[1:], rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="SAM2MaskDecoder: num_classes=2"):
        decoder(num_classes=2)


def test_objects_are_independent():
    """P objects in each of N images are answered as each one alone."""
    model, features = decoder(), maps(2)
    points, labels = 64 * torch.rand(2, 3, 2, 2), torch.randint(-1, 2, (2, 3, 2))
    together = model.decode(model.image_features(features), *model.embed_prompts(64, 4, points, labels), multimask=True)
    assert [tuple(part.shape) for part in together] == [(2, 3, 3, 16, 16), (2, 3, 3), (2, 3, 1)]
    for image in range(2):
        for item in range(3):
            one = (slice(image, image + 1), slice(item, item + 1))
            alone = model.decode(
                model.image_features([level[one[0]] for level in features]),
                *model.embed_prompts(64, 4, points[one], labels[one]),
                multimask=True,
            )
            for ours, expected in zip(alone, together, strict=True):
                torch.testing.assert_close(ours, expected[one], rtol=1e-4, atol=1e-4)


def test_a_box_is_two_points():
    model, features = decoder(), maps()
    boxes = torch.tensor([[[3.0, 5.0, 40.0, 50.0]]])
    as_points = model.embed_prompts(64, 4, boxes.reshape(1, 1, 2, 2), torch.tensor([[[2, 3]]]))
    for ours, expected in zip(
        model.decode(model.image_features(features), *as_points),
        model.decode(model.image_features(features), *model.embed_prompts(64, 4, boxes=boxes)),
        strict=True,
    ):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["SAMMaskDecoder", "SAM2MaskDecoder"])
def test_dynamic_choice_is_for_inference_only(kind):
    model = MODELS.build(dict(type=kind)).eval()
    features = maps(4) if kind == "SAM2MaskDecoder" else maps(4)[2:]
    single, dynamic = (model.decode(model.image_features(features), dynamic=choice).logits for choice in (False, True))
    assert not torch.equal(single, dynamic)  # random masks are not stable
    torch.testing.assert_close(model.train().decode(model.image_features(features), dynamic=True).logits, single)
    torch.testing.assert_close(model.eval().decode(model.image_features(features)).logits, single)


def test_absent_objects_cannot_be_hidden_without_a_score():
    model = MODELS.build(dict(type="SAMMaskDecoder"))
    with pytest.raises(ConfigError, match="SAMMaskDecoder: hide_absent=True needs an object score"):
        model.decode((torch.randn(1, 256, 4, 4),), hide_absent=True)


def test_absent_objects_are_hidden_on_request():
    model, features = decoder(), maps(16)
    shown = model.decode(model.image_features(features))
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias -= shown.object_score.median()
    hidden = model.decode(model.image_features(features), hide_absent=True)
    present = hidden.object_score[:, 0, 0] > 0
    assert 0 < present.sum() < 16
    torch.testing.assert_close(hidden.logits[present], shown.logits[present])
    assert (hidden.logits[~present] == -1024).all()


def test_no_mem_embed_may_be_left_out():
    model, plain = decoder(), decoder(add_no_mem_embed=False)
    plain.load_state_dict(model.state_dict())
    features = maps()
    shifted = (*features[:2], features[2] + model.no_mem_embed.reshape(1, -1, 1, 1))
    assert not torch.equal(plain(features), model(features))
    torch.testing.assert_close(plain(shifted), model(features))


@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_what_is_trained(prompts, add):
    """Without prompts exactly what moves the answer; gradients that are only zeros count as none."""
    model = decoder(prompts=prompts, add_no_mem_embed=add)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model(maps()).square().sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    everything = {name for name, _ in model.named_parameters()} - (set() if add else {"no_mem_embed"})
    trained = {name for name, p in decoder(prompts=prompts, add_no_mem_embed=add).named_parameters() if p.requires_grad}
    assert trained == (everything if prompts else reached)
    assert "sam_prompt_encoder.no_mask_embed.weight" in reached < everything


def test_prompts_reach_every_parameter():
    """Points, a box and a mask, the three masks and the single one: nothing that is trained stays without a gradient."""
    model, features = decoder(prompts=True).train(), maps()
    points, boxes = 64 * torch.rand(1, 1, 3, 2), torch.tensor([[[3.0, 5.0, 40.0, 50.0]]])
    prompts = (
        model.embed_prompts(64, 4, points, torch.tensor([[[1, 0, -1]]]), boxes),
        model.embed_prompts(64, 4, points, torch.tensor([[[1, 0, -1]]]), masks=torch.randn(1, 1, 16, 16)),
    )
    total = torch.zeros(())
    for sparse, dense in prompts:
        for multimask in (False, True):
            total = total + sum(
                part.square().sum() for part in model.decode(model.image_features(features), sparse, dense, multimask)
            )
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_positions_are_exact_in_mixed_precision():
    model = decoder()
    expected = model.image_positions(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.image_positions(8, 8), expected)


def test_copies_are_independent():
    """Modules that are called under one name and registered under another stay one module in a copy."""
    model, features = decoder(), maps()
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert twin(features).abs().max() == 0
    assert model(features).abs().max() > 0
