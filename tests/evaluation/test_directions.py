"""Direction of metrics: samplug's, those of mmdet, mmseg and mmpretrain, and a user's."""

import pytest
from mmengine.evaluator import BaseMetric

from samplug.engine.hooks import EarlyStoppingHook
from samplug.evaluation.directions import rule_of
from samplug.registry import METRICS
from samplug.utils.errors import ConfigError

GREATER = [
    "S",
    "wF",
    "CAMO/S",
    "tssam/wF",
    "CAMO/tssam/S",
    "Dice",
    "mIoU",
    "IoU@3",
    "IoU@25",
    "val/mDice",
    "coco/segm_mAP",
    "coco/bbox_mAP_50",
    "set0/coco/segm_mAP",
    "coco/bbox_mAP_s",
    "coco/segm_mAP_copypaste",
    "coco/AR@100",
    "coco/AR_s@1000",
    "coco/cat_precision",
    "lvis/bbox_AP",
    "lvis/segm_APr",
    "lvis/segm_AP50",
    "lvis/AR@300",
    "pascal_voc/mAP",
    "pascal_voc/AP50",
    "pascal_voc/recall@100@0.5",
    "cityscapes/AP@50",
    "coco_panoptic/PQ",
    "coco_panoptic/SQ_th",
    "crowd_human/JI",
    "cIoU",
    "mAP",
    "aAcc",
    "mAcc",
    "mFscore",
    "mPrecision",
    "mRecall",
    "IoU.cat",
    "citys/averageScore",
    "d1",
    "accuracy/top1",
    "accuracy/top5",
    "top1",
    "accuracy/top1_thr-0.50",
    "single-label/precision",
    "single-label/f1-score_classwise",
    "multi-label/recall_top3",
    "retrieval/Recall@1",
    "multi-label/mAP",
]
LESS = [
    "MAE",
    "CAMO/MAE",
    "set/tssam/MAE",
    "BER",
    "BER_shadow",
    "ISTD/tssam/BER",
    "NoC@85",
    "river/NoF@90",
    "loss",
    "val/loss_ce",
    "crowd_human/mMR",
    "abs_rel",
    "rmse_log",
    "silog",
]


@pytest.mark.parametrize("metric", GREATER)
def test_greater_is_better(metric):
    assert rule_of(metric) == "greater"
    assert EarlyStoppingHook(metric).sign == 1


@pytest.mark.parametrize("metric", LESS)
def test_less_is_better(metric):
    assert rule_of(metric) == "less"
    assert EarlyStoppingHook(metric).sign == -1


@pytest.mark.parametrize("metric", ["time", "lr", "HeightError", "area", "speed"])
def test_unknown_metrics_are_asked_for(metric):
    assert rule_of(metric) is None
    with pytest.raises(ConfigError, match=f"'{metric}' better"):
        EarlyStoppingHook(metric)


def test_metrics_of_a_user(monkeypatch):
    class HeightMetric(BaseMetric):
        columns = ("HeightError", "HeightHits")
        lower_is_better = frozenset({"HeightError"})

        def process(self, data_batch, data_samples): ...

        def compute_metrics(self, results): ...

    monkeypatch.setitem(METRICS.module_dict, "HeightMetric", HeightMetric)
    assert rule_of("A/HeightError") == "less"
    assert rule_of("A/HeightHits") == "greater"
