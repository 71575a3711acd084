"""Binary segmentors of mmseg hand over probabilities where samplug's models hand over logits: scores and pictures are
of the same map.
"""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData

from samplug.apis import Inferencer
from samplug.engine.hooks.overlay import _classes
from samplug.evaluation.metrics import OverlapMetric
from samplug.evaluation.metrics.per_image import foreground_map
from samplug.evaluation.sets_evaluator import SetsEvaluator
from samplug.models import SegTTAModel
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.model_outputs import as_logits, outputs_of
from tests.builders import TINY_ARCH, tiny_tssam

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


def test_scores_and_masks_are_of_the_probabilities(model, answer):
    _, sample = answer
    assert outputs_of(model) == "probabilities"
    probability = sample.seg_logits.data[0].numpy().copy()
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert 0 < sample.pred_sem_seg.data.sum() < SIZE**2
    expected = (probability * 255).round().astype(int)
    assert np.abs(_classes(sample, "probabilities").mask.astype(int) - expected).max() <= 1
    evaluator = SetsEvaluator([dict(type="SaliencyMetric", workers=0)])
    evaluator.describe([sample], lambda: model)
    evaluator.process([sample])
    assert evaluator.evaluate(size=1)["MAE"] == pytest.approx(probability.mean(), abs=0.01)


def test_predictions_are_of_the_probabilities(model, answer):
    image, sample = answer
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    (whole,) = Inferencer(model)(picture)
    (strict,) = Inferencer(model, threshold=0.6)(picture)
    probability = sample.seg_logits.data[0].numpy()
    assert np.abs(whole.probability.astype(int) - (probability * 255).round()).max() <= 1
    np.testing.assert_array_equal(whole.mask, probability > 0.4)
    np.testing.assert_array_equal(strict.mask, probability > 0.6)


def scored(model, output, decision, threshold, **settings):
    """IoU of one image whose last pixel is foreground, by an evaluator that knows the model."""
    sample = dict(
        img_path="b.png",
        seg_logits=dict(data=torch.tensor([[output]])),
        pred_sem_seg=dict(data=torch.tensor([[decision]])),
        gt_sem_seg=dict(data=torch.tensor([[[0, 0, 1]]])),
    )
    evaluator = SetsEvaluator([OverlapMetric(threshold=threshold, workers=0, **settings)])
    if model is not None:
        evaluator.describe([sample], lambda: model)
    evaluator.process([sample])
    return evaluator.evaluate(1)["IoU"]


def test_the_model_says_what_it_hands_over(model):
    """No image does: these two look like the other kind."""
    own = tiny_tssam()
    assert outputs_of(own) == "logits"
    assert scored(model, [0.35, 0.40, 0.95], [1, 1, 1], 0.5) == 1  # mmseg decides at .3 by default
    # sigmoid: .525 .574 .690
    assert scored(own, [0.1, 0.3, 0.8], [0, 0, 1], 0.6) == 1
    assert scored(own, [0.1, 0.3, 0.8], [0, 0, 1], 0.55) == 0.5


def test_keys_and_wrappers(model):
    assert scored(None, [0.2, 0.4, 0.95], [0, 0, 1], 0.5, outputs="probabilities") == 1
    assert scored(model, [-2.0, -1.0, 3.0], [0, 0, 1], 0.5, outputs="logits") == 1
    with pytest.raises(ConfigError, match=r"OverlapMetric: .* look like probabilities.*outputs='probabilities'"):
        scored(None, [0.2, 0.4, 0.95], [0, 0, 1], 0.5)
    with pytest.raises(ConfigError, match="outputs='maps' is unknown"):
        OverlapMetric(outputs="maps")
    assert outputs_of(SegTTAModel(model)) == "logits"  # it merges them to logits
    assert outputs_of(torch.nn.Identity()) == "logits"


def test_conversion_to_logits():
    logits = torch.randn(3, 8, 8)
    assert as_logits(logits, "logits") is logits
    torch.testing.assert_close(as_logits(logits.softmax(0), "probabilities").softmax(0), logits.softmax(0))
    probabilities = torch.rand(1, 8, 8)
    found = foreground_map(as_logits(probabilities, "probabilities"))
    assert cv2.absdiff(found, (probabilities[0] * 255).round().byte().numpy()).max() <= 1
