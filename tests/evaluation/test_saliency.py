"""Saliency measures against PySODMetrics."""

import json

import numpy as np
import py_sod_metrics
import pytest

from samplug.evaluation.functional import SaliencyCounts, iou, mae, quantise, s_measure


def reference(pred, gt):
    s, m = py_sod_metrics.Smeasure(), py_sod_metrics.MAE()
    s.step(pred=pred, gt=gt)
    m.step(pred=pred, gt=gt)
    return s.get_results()["sm"], m.get_results()["mae"]


def maps(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 48, 2)
    pred = rng.integers(0, 256, (height, width)).astype(np.uint8)
    if seed % 4 == 1:
        pred = (pred > 128).astype(np.uint8) * 255
    if seed % 4 == 2:
        pred[:] = pred[0, 0]
    gt = (rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])).astype(np.uint8) * 255
    return pred, gt


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(200))
def test_equals_pysodmetrics(seed):
    pred, gt = maps(seed)
    counts = SaliencyCounts.of(pred, gt > 128)
    expected_s, expected_mae = reference(pred, gt)
    assert mae(counts) == pytest.approx(expected_mae, abs=1e-9)
    value = s_measure(counts)
    if np.isnan(expected_s):  # centroid in the last row or column
        assert 0 <= value <= 1
    else:
        assert value == pytest.approx(expected_s, abs=1e-9)


def test_corner_cases_and_examples(test_data):
    arrays = np.load(test_data / "parity" / "sodmetrics.npz")
    expected = json.loads((test_data / "parity" / "sodmetrics.json").read_text())
    for case, scores in expected["corner_cases"].items():
        gt, pred = (name.strip() for name in case.split("|"))
        counts = SaliencyCounts.of(arrays[f"corner_pred_{pred}"], arrays[f"corner_gt_{gt}"] > 128)
        reference_s, reference_mae = scores["pysodmetrics"]["Smeasure"], scores["pysodmetrics"]["MAE"]
        assert mae(counts) == pytest.approx(reference_mae, abs=1e-9), case
        assert np.isfinite(s_measure(counts)), case
        if reference_s is not None:
            assert s_measure(counts) == pytest.approx(reference_s, abs=1e-9), case


def test_quantise_rounds_half_to_even():
    assert quantise(np.array([0.0, 0.5 / 255, 1.5 / 255, 1.0])).tolist() == [0, 0, 2, 255]


def test_iou():
    pred, gt = np.array([[255, 255, 0, 127]], np.uint8), np.array([[True, False, False, True]])
    assert iou(pred, gt) == pytest.approx(1 / 3)
    assert iou(np.zeros((2, 2), np.uint8), np.zeros((2, 2), bool)) == 1


def test_wrong_maps_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        SaliencyCounts.of(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="one size"):
        iou(np.zeros((2, 2), np.uint8), np.zeros((2, 3), bool))
