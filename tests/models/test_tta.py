"""Test-time augmentation."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from samplug.config import load_config
from samplug.models import SegTTAModel
from samplug.utils.errors import ConfigError
from tests.builders import tiny_promptable, tiny_tssam
from tests.conftest import ROOT


@pytest.mark.parametrize("classes", [1, 3])
def test_samples_hold_the_mean_of_the_views(classes):
    torch.manual_seed(0)
    views = torch.randn(2, 3, classes, 6, 8) * 3  # image, view
    samples = []
    for image, logits in enumerate(views):
        samples.append([])
        for view in logits:
            sample = SegDataSample(metainfo=dict(img_path=f"{image}.png"))
            sample.seg_logits, sample.frame_logits = PixelData(data=view), view
            samples[-1].append(sample)
    merged = SegTTAModel(tiny_tssam(num_classes=classes)).merge_preds(samples)
    assert [sample.img_path for sample in merged] == ["0.png", "1.png"]
    for sample, logits in zip(merged, views, strict=True):
        found = sample.seg_logits.data
        if classes == 1:
            mean = logits.sigmoid().mean(0)
            torch.testing.assert_close(found.sigmoid(), mean)
            assert torch.equal(sample.pred_sem_seg.data, (mean > 0.5).long())
        else:
            mean = logits.softmax(1).mean(0)
            torch.testing.assert_close(found.softmax(0), mean)
            assert torch.equal(sample.pred_sem_seg.data, mean.argmax(0, keepdim=True))
        assert "frame_logits" not in sample


def test_only_segmentors_have_views():
    with pytest.raises(ConfigError, match="needs a segmentor, and PromptableSAM is not one"):
        SegTTAModel(tiny_promptable())


@pytest.mark.parametrize("name", ["quickstart", "tssam/ts-sam_sam-vit-b_1xb2-20e_cod-1024"])
@pytest.mark.parametrize("flips", [["horizontal"], ["horizontal", "vertical"]])
def test_views_of_the_configs(name, flips):
    """Views are the image and each flip of ``tta_flips``, at size ``img_size``."""
    cfg = load_config(ROOT / f"configs/{name}.py", dict(tta_flips=flips, img_size=96))
    assert cfg.tta_model.type == "SegTTAModel"
    resize, views = cfg.tta_pipeline[1], cfg.tta_pipeline[2].transforms[0]
    assert tuple(resize.scale) == (96, 96)
    assert [(view.prob, view.get("direction")) for view in views] == [(0.0, None), *((1.0, flip) for flip in flips)]
