"""Measures against PySODMetrics and TS-SAM's reference values."""

import json

import cv2
import numpy as np
import py_sod_metrics as sod
import pytest

from samplug.evaluation.functional import SaliencyCounts, mae, quantise, s_measure, weighted_f
from samplug.evaluation.protocols import Overlap, Saliency

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def reference(pred, gt):
    """Every measure of one pair, by our names."""
    handlers = dict(with_dynamic=True, with_adaptive=False, with_binary=True, sample_based=True)
    overlap = sod.FmeasureV2(dict(dice=sod.DICEHandler(**handlers), iou=sod.IOUHandler(**handlers)))
    tools = dict(s=sod.Smeasure(), m=sod.MAE(), e=sod.Emeasure(), f=sod.Fmeasure(), w=sod.WeightedFmeasure())
    for tool in [*tools.values(), overlap]:
        tool.step(pred=pred, gt=gt)
    e, f = tools["e"].get_results()["em"], tools["f"].get_results()["fm"]
    dice, iou = (overlap.get_results()[name]["dynamic"] for name in ("dice", "iou"))
    return {
        "S": tools["s"].get_results()["sm"],
        "MAE": tools["m"].get_results()["mae"],
        "E_mean": e["curve"].mean(),
        "E_max": e["curve"].max(),
        "E_adp": e["adp"],
        "F_mean": f["curve"].mean(),
        "F_max": f["curve"].max(),
        "F_adp": f["adp"],
        "wF": tools["w"].get_results()["wfm"],
        "mDice": dice.mean(),
        "mIoU": iou.mean(),
        "maxDice": dice.max(),
        "maxIoU": iou.max(),
    }


def maps(seed):
    """Noise, smooth shapes, constants, binary maps; truths from empty to full."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(2, 48, 2))
    pred = rng.integers(0, 256, (height, width)).astype(np.uint8)
    if seed % 4 == 1:
        pred = (pred > 128).astype(np.uint8) * 255
    if seed % 4 == 2:
        pred[:] = pred[0, 0]
    if seed % 4 == 3:
        pred = cv2.GaussianBlur(pred, (0, 0), 3)
    gt = (rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])).astype(np.uint8) * 255
    if seed % 3 == 0:
        gt = (cv2.GaussianBlur(rng.random((height, width)), (0, 0), 4) > 0.5).astype(np.uint8) * 255
    return pred, gt


def check(pred, gt, expected):
    scores = Saliency().score(pred, gt > 128).scores | Overlap().score(pred, gt > 128).scores
    assert all(np.isfinite(value) for value in scores.values())
    for name, value in expected.items():
        if name == "S" and (value is None or np.isnan(value)):  # centroid in the last row or column
            assert 0 <= scores[name] <= 1
        else:
            assert scores[name] == pytest.approx(value, abs=1e-7), name


@pytest.mark.parametrize("seed", range(240))
def test_equals_pysodmetrics(seed):
    pred, gt = maps(seed)
    check(pred, gt, reference(pred, gt))


# Our name -> the reference's.
PYSOD = {
    "S": "Smeasure", "MAE": "MAE", "wF": "wFmeasure", "E_mean": "meanEm", "E_max": "maxEm", "E_adp": "adpEm", "F_mean": "meanFm",
    "F_max": "maxFm", "F_adp": "adpFm", "mDice": "meandice", "mIoU": "meaniou", "maxDice": "maxdice", "maxIoU": "maxiou",
}  # fmt: skip
TSSAM = {"S": "Smeasure", "MAE": "MAE", "wF": "wFmeasure_b03", "E_mean": "meanEm", "E_max": "maxEm", "E_adp": "adpEm"}


@pytest.fixture(scope="module")
def fixture(test_data):
    expected = json.loads((test_data / "parity" / "sodmetrics.json").read_text())
    return np.load(test_data / "parity" / "sodmetrics.npz"), expected


def pairs(fixture):
    """Name, prediction, truth and reference scores of every pair in the fixture."""
    arrays, expected = fixture
    for case, scores in expected["corner_cases"].items():
        gt, pred = (name.strip() for name in case.split("|"))
        yield case, arrays[f"corner_pred_{pred}"], arrays[f"corner_gt_{gt}"], scores
    for index, scores in enumerate(expected["random_pairs"]["per_pair"]):
        yield f"random {index}", arrays[f"random_pred_{index}"], arrays[f"random_gt_{index}"], scores


def test_fixture_pysodmetrics(fixture):
    for _, pred, gt, scores in pairs(fixture):
        check(pred, gt, {ours: scores["pysodmetrics"][theirs] for ours, theirs in PYSOD.items()})


def test_fixture_tssam(fixture):
    """TS-SAM's own code, its zeros for NaN included."""
    for case, pred, gt, scores in pairs(fixture):
        ours = Saliency(wf_beta2=0.3, mode="tssam").score(pred, gt > 128).scores
        for name, theirs in TSSAM.items():
            value = scores["tssam_sod_metric"][theirs]
            assert ours[name] == pytest.approx(value, abs=1e-6), f"{case} {name}"


def test_published_example(fixture):
    """The three images of PySODMetrics and its expected averages: means over images, maxima of the averaged curves."""
    arrays, expected = fixture
    expected = expected["three_image_example"]["published_expected_values"]
    results = [
        [p.score(arrays[f"example_pred_{k}"], arrays[f"example_gt_{k}"] > 128) for k in range(3)]
        for p in (Saliency(), Overlap())
    ]
    summary = Saliency().summarise(results[0]) | Overlap().summarise(results[1])
    for ours, theirs in PYSOD.items():
        assert summary[ours] == pytest.approx(
            expected[theirs.lower()] if theirs not in expected else expected[theirs], abs=1e-7
        )


def test_squash():
    """The square of another size: bilinear for the map, the nearest pixel's centre for the truth."""
    pred, gt = np.array([[0, 200], [0, 200]], np.uint8), np.array([[False, True, True]] * 2)
    squashed = Saliency(size=6).score(pred, gt).scores
    large = cv2.resize(pred, (6, 6), interpolation=cv2.INTER_LINEAR)
    assert squashed == Saliency().score(large, np.repeat(np.repeat(gt, 3, 0), 2, 1)).scores


def test_large_counts_are_exact():
    """More pixels of one level than float32 can count."""
    pred = np.zeros((4100, 4100), np.uint8)
    assert SaliencyCounts.of(pred, np.zeros(pred.shape, bool)).by_class[0, 0] == 4100 * 4100


def test_quantise_rounds_half_to_even():
    assert quantise(np.array([0.0, 0.5 / 255, 1.5 / 255, 1.0])).tolist() == [0, 0, 2, 255]


def test_wrong_maps_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        SaliencyCounts.of(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="one size"):
        weighted_f(np.zeros((2, 2), np.uint8), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="ignored pixels"):
        Saliency().score(np.zeros((2, 2), np.uint8), np.where(np.eye(2) == 1, 1, 255))


def test_perfect_and_empty():
    gt = np.zeros((20, 20), bool)
    gt[4:12, 5:15] = True
    counts = SaliencyCounts.of(gt.astype(np.uint8) * 255, gt)
    assert (s_measure(counts), mae(counts)) == (pytest.approx(1), 0)
    empty = Saliency().score(np.zeros((20, 20), np.uint8), ~gt & gt).scores
    assert (empty["S"], empty["MAE"], empty["wF"]) == (1, 0, 0)
