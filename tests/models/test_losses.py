"""Losses at the edges; their values are compared with the original's in test_parity."""

import pytest
import torch
import torch.nn.functional as F

from samplug.registry import MODELS


def build(name):
    return MODELS.build(dict(type=name))


def total(losses):
    return sum(losses.values())


@pytest.mark.parametrize("name", ["bce_iou", "balanced_bce"])
@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("logit", [-200.0, 0.0, 200.0])
def test_finite_on_constant_targets(name, value, logit):
    logits = torch.full((2, 1, 8, 8), logit, requires_grad=True)
    loss = total(build(name)(logits, torch.full((2, 1, 8, 8), value)))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_original_is_nan_where_the_released_code_is():
    logits, target = torch.full((1, 1, 4, 4), -200.0), torch.zeros(1, 1, 4, 4)
    assert torch.isnan(total(build("bce_iou_original")(logits, target)))
    assert total(build("bce_iou")(logits, target)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["bce_iou", "balanced_bce"])
def test_ignored_pixels_do_not_count(name):
    logits, target = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 1, 8, 8))
    ignored = target.clone()
    ignored[..., 4:] = 255
    torch.testing.assert_close(
        total(build(name)(logits, ignored)), total(build(name)(logits[..., :4], target[..., :4]))
    )


def test_cross_entropy_equals_torch():
    logits, target = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 1, 8, 8))
    target[0, 0, 0] = 255
    expected = F.cross_entropy(logits, target[:, 0], ignore_index=255)
    torch.testing.assert_close(total(build("cross_entropy")(logits, target)), expected)


def test_classes_of_a_binary_loss():
    with pytest.raises(ValueError, match="one logit per pixel"):
        build("bce_iou")(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
