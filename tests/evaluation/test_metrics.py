"""The MMEngine side of the metrics."""

import json

import numpy as np
import pytest
import torch

from samplug.evaluation import OverlapMetric, SaliencyMetric
from samplug.evaluation.functional import SaliencyCounts, mae, s_measure


def sample(name, logits, gt):
    return dict(img_path=name, seg_logits=dict(data=logits), gt_sem_seg=dict(data=gt[None]))


def test_scores_report_and_padding(tmp_path):
    """A sample that a distributed sampler repeated counts once; the report holds every image."""
    torch.manual_seed(0)
    data = [sample(f"{i}.png", torch.randn(1, 9, 7), torch.randint(0, 2, (9, 7))) for i in range(3)]
    metric = SaliencyMetric(out_file=str(tmp_path / "new" / "s.json"))
    metric.process(None, [*data, data[0]])
    summary = metric.evaluate(size=4)

    expected = []
    for item in data:
        pred = (item["seg_logits"]["data"][0].sigmoid() * 255).round().byte().numpy()
        counts = SaliencyCounts.of(pred, item["gt_sem_seg"]["data"][0].numpy() == 1)
        expected.append((s_measure(counts), mae(counts)))
    assert (summary["S"], summary["MAE"]) == pytest.approx(tuple(np.mean(expected, axis=0)))
    report = json.loads((tmp_path / "new" / "s.json").read_text())
    assert report["protocol"] == "saliency"
    assert report["summary"] == pytest.approx(summary)
    assert set(report["images"]) == {"0.png", "1.png", "2.png"}


def test_overlap_threshold():
    logits = torch.tensor([[[2.0, 0.1, -3.0]]])
    gt = torch.tensor([[1, 0, 0]])
    for threshold, value in ((0.5, 0.5), (0.7, 1.0)):
        metric = OverlapMetric(threshold=threshold)
        metric.process(None, [sample("a", logits, gt)])
        assert metric.evaluate(size=1) == {"IoU": value}


def test_misfits_are_named():
    with pytest.raises(ValueError, match=r"truth \(2, 2\) of b\.png differ"):
        SaliencyMetric().process(None, [sample("b.png", torch.zeros(1, 2, 3), torch.zeros(2, 2))])
    with pytest.raises(ValueError, match=r"got 3 classes: use mmseg\.IoUMetric"):
        SaliencyMetric().process(None, [sample("b.png", torch.zeros(3, 2, 2), torch.zeros(2, 2))])
