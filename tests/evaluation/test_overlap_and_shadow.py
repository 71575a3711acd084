"""Overlap, boundary IoU and balanced error rate."""

import json

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as sklearn_metrics

from samplug.evaluation.functional import Confusion, LevelCounts, boundary_iou, overlap_scores
from samplug.evaluation.protocols import Overlap, Shadow
from samplug.utils.errors import ConfigError


def pair(seed, shape=(31, 27)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape).astype(np.uint8), rng.random(shape) < rng.choice([0.1, 0.5, 0.9])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_equals_sklearn(seed, threshold):
    pred, gt = pair(seed)
    valid = np.random.default_rng(seed + 99).random(gt.shape) < 0.7
    truth, chosen = gt[valid], pred[valid] / 255 > threshold
    scores = overlap_scores(LevelCounts.of(pred, gt, valid), threshold)
    assert scores == pytest.approx(
        {
            "Dice": sklearn_metrics.f1_score(truth, chosen),
            "IoU": sklearn_metrics.jaccard_score(truth, chosen),
            "Acc": sklearn_metrics.accuracy_score(truth, chosen),
            "Sensitivity": sklearn_metrics.recall_score(truth, chosen),
            "Precision": sklearn_metrics.precision_score(truth, chosen),
        }
    )


def test_fixture_overlap(test_data):
    """PySODMetrics' thresholded Dice and IoU, which it takes after the stretch; 0/0 is 0 there."""
    arrays = np.load(test_data / "parity" / "sodmetrics.npz")
    expected = json.loads((test_data / "parity" / "sodmetrics.json").read_text())["random_pairs"]["per_pair"]
    for index, scores in enumerate(expected):
        counts = LevelCounts.of(arrays[f"random_pred_{index}"], arrays[f"random_gt_{index}"] > 128)
        ours = overlap_scores(counts, stretch=True)
        for name, theirs in {"Dice": "dice", "IoU": "iou", "Sensitivity": "rec", "Precision": "pre"}.items():
            assert ours[name] == pytest.approx(scores["pysodmetrics"][f"sample_bi{theirs}"], abs=1e-12)


def test_fixture_shadow(test_data):
    """TS-SAM's BER, each corner case; where it gives NaN the image is left out and said so."""
    arrays = np.load(test_data / "parity" / "sodmetrics.npz")
    for case, scores in json.loads((test_data / "parity" / "sodmetrics.json").read_text())["corner_cases"].items():
        gt, pred = case.split("|")
        result = Shadow(mode="tssam").score(arrays[f"corner_pred_{pred}"], arrays[f"corner_gt_{gt}"] > 128)
        expected = scores["tssam_ber_threshold125"]
        if expected["ber"] is None:
            assert result.skipped
            assert not result.scores
        else:
            assert result.scores == pytest.approx(
                {
                    "BER": expected["ber"],
                    "BER_shadow": expected["shadow_err"],
                    "BER_non_shadow": expected["nonshadow_err"],
                }
            ), case


def test_both_empty_is_perfect_and_false_alarm_is_not():
    empty = np.zeros((8, 8), np.uint8)
    nothing = empty.astype(bool)
    perfect = Overlap().score(empty, nothing).scores
    assert [perfect[name] for name in ("Dice", "IoU", "Acc", "Sensitivity", "Precision", "BIoU")] == [1] * 6
    alarm = Overlap().score(empty + np.uint8(255), nothing).scores
    assert [alarm[name] for name in ("Dice", "IoU", "Acc", "Sensitivity", "Precision", "BIoU")] == [0] * 6


@pytest.mark.parametrize("seed", range(6))
def test_boundary_iou_by_definition(seed):
    """Against the definition: pixels of a mask whose square neighbourhood reaches outside it or outside the image."""
    rng = np.random.default_rng(seed)
    pred, gt = (ndimage.gaussian_filter(rng.random((40, 60)), 5) > 0.5 for _ in range(2))
    distance = round(0.05 * np.hypot(40, 60))

    def boundary(mask):
        return mask & ~ndimage.minimum_filter(mask, 2 * distance + 1, mode="constant", cval=False)

    a, b = boundary(pred), boundary(gt)
    assert boundary_iou(pred, gt, 0.05) == pytest.approx((a & b).sum() / (a | b).sum())


def test_pooling():
    """Over the set: all pixels in one count. Over images: each image counts alike. An image of one class has only its
    own rate.
    """
    maps = [
        (np.array([[255, 0, 0, 0]], np.uint8), np.array([[True, True, False, False]])),  # misses one of two
        (np.array([[255, 255, 0]], np.uint8), np.array([[False, False, False]])),  # no shadow, two false alarms
    ]
    pooled, by_image, tssam = (
        protocol.summarise([protocol.score(*item) for item in maps])
        for protocol in (Shadow(), Shadow(pooling="image"), Shadow(mode="tssam"))
    )
    assert pooled == pytest.approx({"BER": (50 + 40) / 2, "BER_shadow": 50, "BER_non_shadow": 40})
    assert by_image == pytest.approx({"BER": (25 + 200 / 3) / 2, "BER_shadow": 50, "BER_non_shadow": 100 / 3})
    only_first = Shadow(mode="tssam")
    results = [r for r in (only_first.score(*item) for item in maps) if not r.skipped]
    assert tssam == only_first.summarise(results) == pytest.approx({"BER": 25, "BER_shadow": 50, "BER_non_shadow": 0})


def test_thresholds():
    gt = np.array([[True, True, False, False]])
    pred = np.array([[126, 125, 126, 127]], np.uint8)
    assert Confusion.of(LevelCounts.of(pred, gt), 125 / 255) == Confusion(1, 1, 0, 2)
    assert Confusion.of(LevelCounts.of(pred, gt)) == Confusion(0, 2, 2, 0)
    with pytest.raises(ConfigError, match="125/255"):
        Shadow(mode="tssam", threshold=0.4)


def test_everything_ignored_is_an_error():
    with pytest.raises(ValueError, match="every pixel"):
        Overlap().score(np.zeros((2, 2), np.uint8), np.full((2, 2), 255))
