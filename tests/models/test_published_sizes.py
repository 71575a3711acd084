"""The published sizes really run: one training step on a CPU."""

import os

import pytest
import torch

from samplug.registry import MODELS


def free_gb() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def step(arch: str, size: int, **backbone) -> None:
    model = MODELS.build(dict(type="TSSAM", backbone=dict(type="SAMViT", arch=arch, img_size=size, **backbone))).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=8e-4)
    logits = model(torch.randn(1, 3, size, size))
    assert logits.shape == (1, 1, size, size)
    loss = sum(model.loss_fn(logits, torch.randint(0, 2, (1, 1, size, size))).values())
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.skipif(free_gb() < 14, reason="needs 14 GB of free memory")
def test_vit_b_at_1024():
    step("vit_b", 1024)


@pytest.mark.skipif(free_gb() < 12, reason="needs 12 GB of free memory")
def test_vit_h_with_checkpointing():
    step("vit_h", 256, with_cp=True)
