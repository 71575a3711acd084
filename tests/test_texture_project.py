"""The small texture model of projects/texture_small."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from projects.texture_small.parts import affinity_loss
from samplug.config import load_config
from samplug.registry import DATASETS, MODELS
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT

SIZE = 64


def model(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type="RegionSAM",
            geometry="squash",
            backbone=dict(type="TextureUNet", img_size=SIZE, widths=(4, 8, 12, 16), frozen=False),
            decode_head=dict(type="SAM2MaskDecoder", prompts=True, scratch=True),
            **kwargs,
        )
    )


def samples(number, ignored=False):
    labels = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    labels[:, :, SIZE // 2 :] = 1
    if ignored:
        labels[:, SIZE // 2 :] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in range(number)]


def test_encoder():
    encoder = model().backbone
    images = torch.randn(2, 3, SIZE, SIZE)
    maps = encoder(images)
    assert [tuple(each.shape) for each in maps] == [(2, 256, 16, 16), (2, 256, 8, 8), (2, 256, 4, 4)]
    # The coarsest map is smaller than positions; brightness and contrast of an image change little.
    assert maps[-1].square().mean().sqrt() < 0.6
    torch.testing.assert_close(encoder(2 * images + 0.5)[0], maps[0], rtol=0.1, atol=0.1)
    tokens = encoder.tokens(images, range(encoder.depth))
    assert tuple(each.patches.shape[1] for each in tokens) == encoder.block_dims
    assert [each.patches.shape[-1] for each in tokens] == [16, 8, 4, 2]
    with pytest.raises(ConfigError, match="img_size=48 is not a multiple of 32"):
        MODELS.build(dict(type="TextureUNet", img_size=48))
    with pytest.raises(ConfigError, match="built for 64x64"):
        encoder(torch.randn(1, 3, 96, 96))


def test_affinity_loss_against_a_loop(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2, 5, 4, 4, generator=generator)
    labels = torch.randint(3, (2, 4, 4), generator=generator)
    labels[1, 0] = 255
    chosen = torch.randint(16, (2, 10), generator=generator)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: chosen)
    expected = 0.0
    for image in range(2):
        pixels = [(embeddings[image].flatten(1)[:, i].numpy(), int(labels[image].flatten()[i])) for i in chosen[image]]
        pairs = [(a, b) for a in pixels for b in pixels if a[1] != 255 and b[1] != 255]
        share = sum(a[1] == b[1] for a, b in pairs) / len(pairs)
        for (u, of_u), (v, of_v) in pairs:
            logit = 10 * (float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)) - 0.5)
            same = of_u == of_v
            expected += math.log1p(math.exp(-logit if same else logit)) * 0.5 / (share if same else 1 - share)
    assert affinity_loss(embeddings, labels, 10).item() == pytest.approx(expected / 200, rel=1e-5)


def test_losses():
    """Both steps train what they should, and pixels without a region count nowhere."""
    inputs = torch.randn(2, 3, SIZE, SIZE)
    first = model(clicks=0)
    losses = first(inputs, samples(2), mode="loss")
    assert set(losses) == {"loss_affinity"}
    losses["loss_affinity"].backward()
    assert all(parameter.grad is not None for parameter in first.parameters())
    second = model(clicks=3)
    losses = second(inputs, samples(2), mode="loss")
    assert set(losses) == {"loss_affinity", "loss_mask", "loss_dice", "loss_iou"}
    nothing = samples(2)
    for sample in nothing:
        sample.gt_sem_seg.data.fill_(255)
    losses = second(inputs, nothing, mode="loss")
    assert losses["loss_affinity"] == losses["loss_mask"] == 0
    half = second(inputs, samples(2, ignored=True), mode="loss")
    assert all(torch.isfinite(value) for value in half.values())


def test_images_and_labels_are_flipped_together():
    cfg = load_config(ROOT / "projects/texture_small/affinity_scenes-128.py", {"textures": None})
    scenes = dict(cfg.train_dataloader.dataset.datasets[0], length=8, size=SIZE, bank=0)
    dataset = DATASETS.build(scenes)
    flipped = 0
    for index in range(8):
        image, labels = dataset.generate(index)
        sample = dataset[index]
        mirrored = sample["data_samples"].get("flip")
        flipped += bool(mirrored)
        step = -1 if mirrored else 1
        np.testing.assert_array_equal(sample["inputs"].permute(1, 2, 0).numpy(), image[:, ::step])
        np.testing.assert_array_equal(sample["data_samples"].gt_sem_seg.data[0].numpy(), labels[:, ::step])
    assert 0 < flipped < 8
