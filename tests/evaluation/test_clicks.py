"""Scores of interactive segmentation."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as coco_mask
from sklearn.metrics import f1_score, jaccard_score

from samplug.evaluation.functional import boundary_iou
from samplug.evaluation.metrics import ClickMetric
from samplug.evaluation.protocols.clicks import Clicks, clicks_to
from samplug.utils.errors import DataError
from samplug.utils.rle import encode_rle


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((60, 90)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 5) > 0.5


def sample(truths, answers, name="a.png", **kwargs):
    masks = BitmapMasks([truth.astype(np.uint8) for truth in truths], 60, 90)
    return dict(
        img_path=name, ori_shape=(60, 90), gt_instances=dict(masks=masks),
        pred_clicks=dict(
            masks=[[encode_rle(mask) for mask in steps] for steps in answers],
            scores=torch.tensor([[0.5] * len(steps) for steps in answers]),
        ),
        **kwargs,
    )  # fmt: skip


def test_scores_are_those_of_others():
    truth, answers = blobs(0), [blobs(k) for k in range(1, 4)]
    scores = Clicks().score([encode_rle(mask) for mask in answers], truth).scores
    for k, mask in enumerate(answers, start=1):
        assert scores[f"IoU@{k}"] == pytest.approx(jaccard_score(truth.ravel(), mask.ravel()))
        assert scores[f"Dice@{k}"] == pytest.approx(f1_score(truth.ravel(), mask.ravel()))
        assert scores[f"BIoU@{k}"] == boundary_iou(mask, truth)
        pair = [coco_mask.encode(np.asfortranarray(m, np.uint8)) for m in (mask, truth)]
        assert scores[f"IoU@{k}"] == pytest.approx(coco_mask.iou(pair[:1], pair[1:], [0])[0, 0])


def test_clicks_to_a_threshold():
    """The definition, by hand: the first click that reaches it, or all of them and a failure."""
    assert clicks_to([0.5, 0.84, 0.79, 0.86]) == {
        "NoC@80": 2, "NoF@80": 0, "NoC@85": 4, "NoF@85": 0, "NoC@90": 4, "NoF@90": 1
    }  # fmt: skip
    assert clicks_to([0.80]) == {}  # one click: nothing to count
    assert clicks_to([0.80, 0.1])["NoC@80"] == 1


def test_pixels_without_truth_do_not_count():
    truth, answer = blobs(0), blobs(1)
    labels = truth.astype(np.uint8)
    labels[:, 40:] = 255
    scores = Clicks().score([encode_rle(answer)], labels).scores
    assert scores["IoU@1"] == pytest.approx(jaccard_score(truth[:, :40].ravel(), answer[:, :40].ravel()))
    nothing = Clicks().score([encode_rle(answer)], np.where(labels == 1, 255, labels))
    assert nothing.skipped == "there is no pixel of the object"


def test_objects_are_the_rows(tmp_path):
    metric = ClickMetric(out_file=str(tmp_path / "out.json"), workers=0)
    truths = [blobs(0), blobs(1)]
    perfect, poor = [truths[0]] * 2, [~truths[1], truths[1]]
    metric.process(None, [sample(truths, [perfect, poor]), sample([], [], "b.png")])
    found = metric.evaluate(2)
    assert found["IoU@1"] == pytest.approx(0.5)
    assert found["IoU@2"] == found["BIoU@2"] == 1
    assert found["NoC@90"] == 1.5
    assert found["NoF@90"] == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert set(written["images"]) == {"a.png#0", "a.png#1"}
    assert written["images"]["a.png#1"]["IoU@1"] == 0
    assert list(written["skipped"]) == ["b.png#-"]


def test_one_object_in_a_label_map():
    truth = torch.from_numpy(blobs(0)).long()[None]
    truth[:, :5] = 255
    one = sample([], [[blobs(0)]])
    del one["gt_instances"]
    metric = ClickMetric(workers=0)
    metric.process(None, [{**one, "gt_sem_seg": dict(data=truth)}])
    assert metric.evaluate(1)["IoU@1"] == 1


def test_the_last_click_is_reported_too():
    metric = ClickMetric(workers=0)
    metric.process(None, [sample([blobs(0)], [[blobs(0)] * 7])])
    assert {name for name in metric.evaluate(1) if name.startswith("IoU")} == {"IoU@1", "IoU@3", "IoU@5", "IoU@7"}


def test_answers_that_are_nan():
    """They would be scored as empty masks."""
    broken = sample([blobs(0)], [[blobs(0)] * 2])
    broken["pred_clicks"]["scores"][0, 1] = float("nan")
    with pytest.raises(DataError, match=r"a\.png: the model's masks are NaN"):
        ClickMetric(workers=0).process(None, [broken])


def test_boxes_beside_a_label_map():
    """mmdet packs ``gt_instances`` always; without masks the label map is the truth."""
    one = sample([], [[blobs(0)]])
    one["gt_instances"] = dict(bboxes=torch.zeros(3, 4))
    metric = ClickMetric(workers=0)
    metric.process(None, [{**one, "gt_sem_seg": dict(data=torch.from_numpy(blobs(0)).long()[None])}])
    assert metric.evaluate(1)["IoU@1"] == 1


def test_models_without_prompts():
    with pytest.raises(DataError, match="use PromptableSAM"):
        ClickMetric().process(None, [dict(img_path="a.png")])
    with pytest.raises(DataError, match=r"a\.png#0: a mask of \(5, 5\) for a ground truth of \(60, 90\)"):
        ClickMetric(workers=0).process(None, [sample([blobs(0)], [[np.ones((5, 5), bool)]])])
