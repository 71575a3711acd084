"""Scores of masks of everything in an image."""

import json
from itertools import permutations

import cv2
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from samplug.commands.run import main
from samplug.evaluation.folders import evaluate
from samplug.evaluation.functional import regions, texturesam
from samplug.evaluation.functional.regions import (
    Overlaps,
    adjusted_rand_index,
    assigned_ious,
    binary_rand_index,
    contingency,
    partition,
)
from samplug.evaluation.protocols import Texture
from samplug.utils.errors import DataError
from samplug.utils.rle import decode_rle, encode_rle

RWTD = ["good", "noisy", "oversegmented", "missing", "overlapping", "zero_one"]
ADE = ["good", "noisy", "missing", "overlapping", "zero_one"]


def score(folder, gt, on_error="stop", **settings):
    protocol = Texture(**settings)
    truths = protocol.find_ground_truths(gt)
    method = protocol.find_predictions(str(folder), truths)
    return evaluate({"it": method}, truths, protocol, on_error)["it"]


@pytest.fixture(scope="module")
def published(test_data):
    folder = test_data / "parity" / "texture_eval"
    return folder, json.loads((folder / "expected.json").read_text())


def _printed(messages, text):
    return float(next(message.split(text)[1].split(",")[0] for message in messages if text in message))


@pytest.mark.parametrize(("rows", "version"), [("zero", "tm161"), ("drop", "tm190")])
@pytest.mark.parametrize("kind", RWTD)
def test_rwtd_as_published(published, kind, rows, version):
    folder, expected = published
    expected = expected["rwtd"][f"pred_{kind}"]
    for dataset, script in (("rwtd", f"agg_rwtd_{version}"), ("stmd", f"agg_{version}")):
        report = score(
            folder / "rwtd" / f"pred_{kind}", folder / "rwtd" / "labels", dataset=dataset, mode="texturesam",
            row_empty=rows,
        )  # fmt: skip
        wanted = {row["Filename"].removesuffix(".png"): row["MeanIoU"] for row in expected[script]["csv_rows"]}
        ours = {name: scores["mIoU_agg"] for name, scores in report.images.items() if "mIoU_agg" in scores}
        assert ours == pytest.approx(wanted, abs=2e-7)
        assert report.summary["mIoU_agg"] == pytest.approx(expected[script]["csv_means"]["MeanIoU"], abs=2e-7)
        messages = expected["noagg"]["messages"]
        assert report.summary["mIoU"] == pytest.approx(_printed(messages, "Average IoU: "), abs=5.1e-5)
        assert report.summary["ARI"] == pytest.approx(_printed(messages, "Average Rand Index: "), abs=5.1e-5)
        rows_of = {}
        for row in expected["noagg"]["csv_rows"]:
            if row["All IoU Scores"] is not None:
                rows_of.setdefault(str(row["Image Number"]), []).append(row)
        for name, own in rows_of.items():
            for ours_name, theirs in (("mIoU", "Average IoU"), ("ARI", "Average Rand Index")):
                mean = np.mean([float(row[theirs]) for row in own])
                assert report.images[name][ours_name] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(("rows", "version"), [("zero", "tm161"), ("drop", "tm190")])
@pytest.mark.parametrize("kind", ADE)
def test_ade20k_as_published(published, kind, rows, version):
    folder, expected = published
    expected = expected["ade"][f"pred_{kind}"]
    report = score(
        folder / "ade" / f"pred_{kind}", folder / "ade" / "unified", dataset="ade20k", mode="texturesam",
        row_empty=rows,
    )  # fmt: skip
    wanted = {f"ADE_{row['Identifier']}": row["MeanIoU"] for row in expected[f"agg_ade_{version}"]["csv_rows"]}
    ours = {name: scores["mIoU_agg"] for name, scores in report.images.items() if "mIoU_agg" in scores}
    assert ours == pytest.approx(wanted, abs=2e-7)
    for row in expected["noagg_ade"]["csv_rows"]:
        scores = report.images[row["Image Number"].removeprefix("unified_")]
        assert scores["mIoU"] == pytest.approx(row["Average IoU"], abs=1e-12)
        assert scores["ARI"] == pytest.approx(row["Average Rand Index"], abs=1e-12)
    assert report.summary["mIoU"] == pytest.approx(expected["noagg_ade"]["csv_means"]["Average IoU"], abs=1e-12)
    assert report.summary["ARI"] == pytest.approx(expected["noagg_ade"]["csv_means"]["Average Rand Index"], abs=1e-12)


def rles(masks):
    return [encode_rle(np.asarray(mask, bool)) for mask in masks]


@pytest.fixture
def labels():
    regions = np.zeros((30, 40), np.uint8)
    regions[:, 20:] = 255
    regions[5:15, 5:15] = 7
    return regions


def test_perfect_masks_score_one(labels):
    result = Texture().score(rles([labels == value for value in (0, 7, 255)]), labels)
    assert result.scores == {"mIoU": 1, "ARI": 1, "mIoU_agg": 1}
    assert result.extra == {"masks": 3, "regions": 3, "regions_all": 3}


def test_what_no_mask_covers_is_a_region(labels):
    result = Texture().score(rles([labels == 255, labels == 7]), labels)
    assert result.scores["mIoU"] == result.scores["ARI"] == 1
    assert result.scores["mIoU_agg"] == pytest.approx(2 / 3)  # no mask fell to the region 0
    assert result.extra["regions"] == 2


def test_smaller_masks_lie_over_larger_ones(labels):
    result = Texture().score(rles([labels == 7, np.ones_like(labels), labels == 255]), labels)
    assert result.scores["mIoU"] == result.scores["ARI"] == 1


def test_a_region_has_one_partner(labels):
    halves = [labels == 255, labels == 7]
    halves += [(labels == 0) & (np.arange(40) < 10), (labels == 0) & (np.arange(40) >= 10)]
    scores = Texture().score(rles(halves), labels).scores
    rest = (labels == 0).sum()
    assert scores["mIoU"] == pytest.approx((2 + max(half.sum() for half in halves[2:]) / rest) / 3)
    assert scores["mIoU_agg"] == 1


def test_images_without_masks_count_zero(labels):
    empty = Texture().score([], labels)
    assert empty.scores == {"mIoU": 0, "ARI": 0, "mIoU_agg": 0}
    full = Texture().score(rles([labels == value for value in (0, 7, 255)]), labels)
    summary = Texture().summarise([empty, full])
    assert summary == {
        "mIoU": 0.5, "ARI": 0.5, "mIoU_agg": 0.5, "images": 1, "images_all": 2, "regions": 3, "regions_all": 6,
    }  # fmt: skip


def test_no_instance_is_no_region_of_ade20k(labels):
    masks = rles([labels == 7, labels == 255])
    protocol = Texture(dataset="ade20k")
    result = protocol.score(masks, labels)
    assert result.scores == {"mIoU": 1, "ARI": 1, "mIoU_agg": 1}
    assert result.extra["regions_all"] == 2
    assert protocol.score(masks, np.zeros_like(labels)).skipped == "the ground truth has no region"


@pytest.mark.parametrize("seed", range(5))
def test_rand_index_equals_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, (20, 30))
    found = np.where(generator.random((20, 30)) < 0.6, truth, generator.integers(0, 6, (20, 30)))
    expected = adjusted_rand_score(truth.ravel(), found.ravel())
    assert adjusted_rand_index(contingency(found, truth)) == pytest.approx(expected, abs=1e-12)
    first, second = truth > 1, found > 1
    counts = [int(value) for value in ((first & second).sum(), first.sum(), second.sum(), first.size)]
    expected = adjusted_rand_score(first.ravel(), second.ravel())
    assert binary_rand_index(*counts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_assignment_is_the_best_one(seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, (9, 9)).astype(np.uint8)
    masks = generator.random((4, 9, 9)) < 0.3
    overlaps = Overlaps.of(rles(masks), truth)
    painted = partition(rles(masks), overlaps)
    found = np.unique(painted)
    ious = np.array(
        [
            [((painted == a) & (truth == b)).sum() / ((painted == a) | (truth == b)).sum() for b in range(3)]
            for a in found
        ]
    )
    best = max(sum(ious[row, column] for column, row in enumerate(rows)) for rows in permutations(range(len(found)), 3))
    assert assigned_ious(contingency(painted, truth)).sum() == pytest.approx(best)


@pytest.fixture
def folders(tmp_path, labels):
    truths, masks = tmp_path / "labels", tmp_path / "masks"
    truths.mkdir()
    masks.mkdir()
    for name in ("007", "8"):
        cv2.imwrite(str(truths / f"{name}.png"), labels)
    for index, value in enumerate((0, 7, 255)):
        cv2.imwrite(str(masks / f"mask_{index}_007.png"), (labels == value).astype(np.uint8))  # 0 and 1
        cv2.imwrite(str(masks / f"mask_{index}_8.png"), (labels == value).astype(np.uint8) * 255)
    return truths, masks


def test_masks_of_a_folder(folders):
    truths, masks = folders
    summary = score(masks, truths).summary
    assert (summary["mIoU"], summary["images"], summary["regions"]) == (1, 2, 6)


def test_json_equals_pictures(folders, tmp_path, labels):
    truths, masks = folders
    for mask in masks.glob("*_8.png"):
        mask.unlink()
    content = {"annotations": [{"segmentation": mask} for mask in rles([labels == 0, labels == 255])]}
    (tmp_path / "json").mkdir()
    for name in ("007", "8"):
        (tmp_path / "json" / f"{name}.json").write_text(json.dumps(content))
    report = score(tmp_path / "json", truths)
    assert report.images["8"] == Texture().score(rles([labels == 0, labels == 255]), labels).scores
    (tmp_path / "json" / "8.json").write_text('{"annotations": []}')
    assert score(tmp_path / "json", truths).images["8"]["mIoU"] == 0
    (tmp_path / "json" / "8.json").write_text("{}")
    with pytest.raises(DataError, match=r"8\.json has no list of annotations"):
        score(tmp_path / "json", truths)


def test_masks_of_zeros_and_ones_are_empty_in_the_scripts(folders):
    """Their numbers are kept, and the command says why."""
    truths, masks = folders
    found = Texture(mode="texturesam").find_ground_truths(truths)
    note = Texture(mode="texturesam").find_predictions(str(masks), found).note
    assert "mask_0_007.png has the values 0 and 1, and only 255 counts" in note
    assert not Texture().find_predictions(str(masks), found).note
    for index in range(3):
        (masks / f"mask_{index}_007.png").unlink()
    note = Texture(mode="texturesam").find_predictions(str(masks), found).note
    assert note == "1 images of 2 have no masks, '007' for example"
    images = score(masks, truths, mode="texturesam").images
    assert images["8"]["mIoU"] == 1
    assert "mIoU" not in images["007"]


def test_labels_of_one_value(folders):
    """An error, as in a test run, but for the protocols of the scripts, which score them."""
    truths, masks = folders
    cv2.imwrite(str(truths / "8.png"), np.full((30, 40), 7, np.uint8))
    with pytest.raises(DataError, match=r"8\.png has one value, 7: there is nothing to tell apart"):
        score(masks, truths)
    assert score(masks, truths, on_error="skip").skipped.keys() == {"8"}
    assert set(score(masks, truths, mode="texturesam").images) == {"007", "8"}
    assert score(masks, truths, dataset="ade20k").images["8"]["mIoU"] < 1  # one instance that fills the image


def test_images_without_files_are_said(folders):
    truths, masks = folders
    for mask in masks.glob("*_8.png"):
        mask.unlink()
    protocol = Texture()
    found = protocol.find_ground_truths(truths)
    assert "1 images of 2 have no masks, '8' for example" in protocol.find_predictions(str(masks), found).note
    assert score(masks, truths).summary["mIoU"] == 0.5


def test_wrong_folders_and_files(folders, tmp_path):
    truths, masks = folders
    cv2.imwrite(str(masks / "mask_0_9.png"), np.zeros((30, 40), np.uint8))
    with pytest.raises(DataError, match=r"9: .* no ground truth of this name"):
        score(masks, truths)
    assert score(masks, truths, on_error="skip").skipped.keys() == {"9"}
    (masks / "mask_0_9.png").unlink()
    cv2.imwrite(str(masks / "mask_3_8.png"), np.zeros((30, 41), np.uint8))
    with pytest.raises(DataError, match=r"mask_3_8\.png is 41x30 \(width x height\), the ground truth 40x30"):
        score(masks, truths)
    cv2.imwrite(str(masks / "mask_3_8.png"), np.arange(1200, dtype=np.uint8).reshape(30, 40))
    with pytest.raises(DataError, match=r"mask_3_8\.png has the values 1 and 255: a mask is 0 and one other"):
        score(masks, truths)
    cv2.imwrite(str(masks / "mask_3_8.png"), np.full((30, 40), 3, np.uint8))
    cv2.imwrite(str(masks / "mask_4_8.png"), np.eye(30, 40, dtype=np.uint8) + 1)
    with pytest.raises(DataError, match=r"mask_4_8\.png has the values 1 and 2"):
        score(masks, truths)
    (masks / "mask_4_8.png").unlink()
    (tmp_path / "out").mkdir()
    masks.rename(tmp_path / "out" / "masks_output")
    cv2.imwrite(str(tmp_path / "out" / "masked_8.jpg"), np.zeros((30, 40), np.uint8))
    with pytest.raises(DataError, match=r"but .*masks_output may"):
        score(tmp_path / "out", truths)
    (tmp_path / "other").mkdir()
    cv2.imwrite(str(tmp_path / "other" / "mask_0_a.png"), np.zeros((30, 40), np.uint8))
    with pytest.raises(DataError, match=r"no mask in .* belongs to a ground truth"):
        score(tmp_path / "other", truths)


@pytest.mark.parametrize(("mode", "most"), [("strict", 2), ("texturesam", 3)])
def test_masks_are_decoded_a_few_times(labels, monkeypatch, mode, most):
    """Most of the time of a json is spent on it: 60 masks of an image, however many regions and scores there are."""
    calls = []
    monkeypatch.setattr(regions, "decode_rle", lambda mask: calls.append(mask) or decode_rle(mask))
    rng = np.random.default_rng(0)
    Texture(mode=mode).score(rles(rng.random((60, *labels.shape)) < 0.3), labels)
    assert len(calls) <= most * 60 + 3  # and the merged masks of each region


def test_published_scores_stand_below_ours(labels, tmp_path, capsys):
    (tmp_path / "gt").mkdir()
    (tmp_path / "pred").mkdir()
    cv2.imwrite(str(tmp_path / "gt/1.png"), labels)
    cv2.imwrite(str(tmp_path / "pred/mask_0_1.png"), (labels == 255) * np.uint8(255))
    command = ["texture", "--pred", str(tmp_path / "pred"), "--gt", str(tmp_path / "gt"), "--workers", "0"]
    assert main("evaluate", [*command, "--mode", "texturesam", "--dataset", "stmd", "--published"]) == 0
    lines = [line.split("|")[1:5] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    cells = {name.strip(): [value.strip() for value in values] for name, *values in lines}
    assert cells["published: SAM-2*"] == ["0.1700", "0.1600", "0.7800"]
    assert [name for name in cells if name.startswith("published")] == [
        f"published: {model}" for model in texturesam.PUBLISHED["stmd"]
    ]
    assert cells["pred"][0] == "1.0000"
    assert main("evaluate", command) == 0
    assert "published:" not in capsys.readouterr().out
    assert main("evaluate", [*command, "--published"]) == 1
    assert "published scores are those of mode='texturesam'" in capsys.readouterr().err
