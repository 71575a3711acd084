"""Images that are smaller than the network's input are padded, and the padding leaves no trace."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import nn

from samplug.models import LetterboxPreProcessor
from samplug.registry import MODELS
from tests.builders import tiny_tssam_cfg

ORIGINAL = [(50, 107), (90, 41)]  # height, width: one lies, one stands
RESIZED = [(30, 64), (64, 29)]


@pytest.fixture
def model():
    return MODELS.build(tiny_tssam_cfg())


@pytest.fixture
def batch():
    samples = []
    for original, resized in zip(ORIGINAL, RESIZED, strict=True):
        sample = SegDataSample(metainfo=dict(ori_shape=original, img_shape=resized))
        samples.append(sample.set_data(dict(gt_sem_seg=PixelData(data=torch.ones(1, *resized).long()))) or sample)
    return dict(
        inputs=[torch.randint(0, 256, (3, *shape), dtype=torch.uint8) for shape in RESIZED], data_samples=samples
    )


def test_predictions_come_back_without_padding(model, batch, monkeypatch):
    # The "logits" are the red channel of the input: where they land shows what was cut and resized.
    monkeypatch.setattr(model, "encode_decode", lambda inputs, _=None: inputs[:, :1])
    predictions = model.test_step(batch)
    for image, original, prediction in zip(batch["inputs"], ORIGINAL, predictions, strict=True):
        red = (image[2].float() - model.backbone.mean[0]) / model.backbone.std[0]
        expected = F.interpolate(red[None, None], size=original, mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(prediction.seg_logits.data, expected)
        assert prediction.pred_sem_seg.shape == original


def test_a_batch_is_prepared_as_each_image_alone(model, batch):
    """By mmseg's own preprocessor, to the bit, with the same entries in the samples."""
    own = copy.deepcopy(batch)
    padded = dict(size=(64, 64), test_cfg=dict(size=(64, 64)))
    mmseg = SegDataPreProcessor(mean=model.backbone.mean, std=model.backbone.std, bgr_to_rgb=True, **padded)
    prepared = model.data_preprocessor(batch)
    for index, (image, sample) in enumerate(zip(own["inputs"], own["data_samples"], strict=True)):
        alone = mmseg(dict(inputs=[image], data_samples=[sample]))
        assert torch.equal(prepared["inputs"][index], alone["inputs"][0])
        found, expected = prepared["data_samples"][index], alone["data_samples"][0]
        assert found.metainfo == expected.metainfo
        assert torch.equal(found.gt_sem_seg.data, expected.gt_sem_seg.data)


def test_training_batches_are_prepared_as_mmseg_does(model, batch):
    own, padded = copy.deepcopy(batch), dict(size=(64, 64), pad_val=3, seg_pad_val=7)
    statistics = dict(mean=model.backbone.mean, std=model.backbone.std, bgr_to_rgb=True)
    expected = SegDataPreProcessor(**statistics, **padded)(own, training=True)
    prepared = LetterboxPreProcessor(**statistics, **padded)(batch, training=True)
    assert torch.equal(prepared["inputs"], expected["inputs"])
    for sample, other in zip(prepared["data_samples"], expected["data_samples"], strict=True):
        assert sample.metainfo == other.metainfo
        assert torch.equal(sample.gt_sem_seg.data, other.gt_sem_seg.data)


def test_real_predictions_have_the_original_size(model, batch):
    assert [tuple(prediction.seg_logits.shape) for prediction in model.test_step(batch)] == ORIGINAL
    alone = model.test_step(dict(inputs=batch["inputs"]))
    assert [tuple(prediction.seg_logits.shape) for prediction in alone] == RESIZED


def test_padding_is_not_counted_in_the_loss(model, batch, monkeypatch):
    logits = nn.Parameter(torch.randn(2, 1, 64, 64))
    monkeypatch.setattr(model, "encode_decode", lambda inputs, _=None: logits)
    data = model.data_preprocessor(batch, training=True)
    assert data["inputs"].shape == (2, 3, 64, 64)
    sum(model(**data, mode="loss").values()).backward()
    for gradient, (height, width) in zip(logits.grad[:, 0], RESIZED, strict=True):
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[:height, :width] = True
        assert (gradient[inside] != 0).all()
        assert (gradient[~inside] == 0).all()
