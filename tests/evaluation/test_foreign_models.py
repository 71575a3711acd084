"""Binary segmentors of mmseg hand over probabilities where samplug's models hand over logits: scores and pictures are of the same map."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData

from samplug.apis import Inferencer
from samplug.engine.hooks.overlay import _classes
from samplug.evaluation.metrics import SaliencyMetric
from samplug.evaluation.metrics.per_image import foreground_map
from samplug.registry import MODELS
from samplug.utils.foreground import foreground_logits
from samplug.utils.imports import quiet_optional_operators
from tests.builders import TINY_ARCH

with quiet_optional_operators():
    from mmseg.structures import SegDataSample

SIZE = 32


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    cfg = dict(
        type="mmseg.EncoderDecoder",
        data_preprocessor=dict(type="mmseg.SegDataPreProcessor", mean=[0.0] * 3, std=[60.0] * 3, size=(SIZE, SIZE), test_cfg=dict(size=(SIZE, SIZE))),
        backbone=dict(type="samplug.SAMViT", arch=TINY_ARCH, img_size=SIZE),
        decode_head=dict(
            type="mmseg.FCNHead", in_channels=256, channels=8, in_index=0, num_convs=1, num_classes=2, out_channels=1, threshold=0.4,
            norm_cfg=dict(type="BN"), align_corners=False, loss_decode=dict(type="mmseg.CrossEntropyLoss", use_sigmoid=True),
        ),
        train_cfg=dict(), test_cfg=dict(mode="whole"),
    )  # fmt: skip
    model = MODELS.build(Config(cfg)._cfg_dict)
    model.init_weights()
    for module in model.decode_head.modules():  # an answer that is sure of some pixels
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=0.5)
    pipeline = [dict(type="LoadImage"), dict(type="mmseg.Resize", scale=(SIZE, SIZE)), dict(type="PackSegInputs")]
    model.cfg = Config(dict(model=cfg, test_dataloader=dict(dataset=dict(type="BinarySegDataset", pipeline=pipeline))))
    return model.eval()


@pytest.fixture
def answer(model):
    sample = SegDataSample(metainfo=dict(img_path="a.png", ori_shape=(SIZE, SIZE), img_shape=(SIZE, SIZE)))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, SIZE, SIZE, dtype=torch.long))
    image = torch.randint(0, 256, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).byte()
    with torch.no_grad():
        (found,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
    return image, found


def test_scores_and_masks_are_of_the_probabilities(answer):
    _, sample = answer
    probability = sample.seg_logits.data[0].numpy().copy()
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert 0 < sample.pred_sem_seg.data.sum() < SIZE**2
    expected = (probability * 255).round().astype(int)
    assert np.abs(_classes(sample).mask.astype(int) - expected).max() <= 1
    metric = SaliencyMetric(workers=0)
    metric.process(None, [sample.to_dict()])
    assert metric.evaluate(size=1)["MAE"] == pytest.approx(probability.mean(), abs=0.01)


def test_predictions_are_of_the_probabilities(model, answer):
    image, sample = answer
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    (whole,) = Inferencer(model)(picture)
    (strict,) = Inferencer(model, threshold=0.6)(picture)
    probability = sample.seg_logits.data[0].numpy()
    assert np.abs(whole.probability.astype(int) - (probability * 255).round()).max() <= 1
    np.testing.assert_array_equal(whole.mask, probability > 0.4)
    np.testing.assert_array_equal(strict.mask, probability > 0.6)


def test_logits_stay_logits():
    """Also those that all are in 0..1, as an untrained model's may be: it decided for the foreground everywhere."""
    for logits in (torch.rand(1, 8, 8), torch.randn(1, 8, 8), torch.randn(3, 8, 8), torch.zeros(1, 0, 0)):
        assert foreground_logits(logits, (logits[:1] > 0).long()) is logits
        assert foreground_logits(logits, None) is logits
    probabilities = torch.rand(1, 8, 8)
    found = foreground_map(foreground_logits(probabilities, (probabilities > 0.5).long()))
    assert cv2.absdiff(found, (probabilities[0] * 255).round().byte().numpy()).max() <= 1
