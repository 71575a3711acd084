"""Top-k accuracy and nearest neighbours: equal to scikit-learn and to the definition; what cannot be scored is an error."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from samplug.commands.common import build_runner
from samplug.datasets import ImageFolderDataset
from samplug.engine.hooks.split_leakage import selection_warnings
from samplug.evaluation.class_baselines import class_baselines, colour_histogram
from samplug.evaluation.directions import rule_of
from samplug.evaluation.functional import knn_scores
from samplug.evaluation.functional.knn import merge, nearest
from samplug.evaluation.metrics import KNNMetric, TopKAccuracy
from samplug.evaluation.protocols.classification import place_of
from samplug.evaluation.sets_evaluator import SetsEvaluator
from samplug.registry import MODELS
from samplug.structures import ClassDataSample
from samplug.utils.errors import ConfigError, DataError
from tests.conftest import ROOT

CLASSES = 7


def scored(name, scores, label, **meta):
    sample = ClassDataSample(metainfo=dict(img_path=name, **meta)).set_gt_label(label)
    return sample.set_pred_score(torch.as_tensor(scores)).to_dict()


def featured(number, dim=16, seed=0, **meta):
    """Features around a point for each class."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, dim, generator=torch.Generator().manual_seed(9))
    for index in range(number):
        label = int(torch.randint(CLASSES, (), generator=generator))
        sample = ClassDataSample(metainfo=dict(img_path=f"{seed}-{index:04}.png", **meta)).set_gt_label(label)
        sample.pred_feature = centres[label] + 2 * torch.randn(dim, generator=generator)
        yield sample.to_dict()


def arrays(samples):
    return torch.stack([s["pred_feature"] for s in samples]), torch.cat([s["gt_label"] for s in samples])


def sklearn_scores(bank, labels, queries, k):
    """The normalised votes of scikit-learn's own neighbours."""
    weights = lambda distance: np.exp((1 - distance) / 0.07)  # noqa: E731
    knn = KNeighborsClassifier(k, weights=weights, metric="cosine", algorithm="brute")
    return knn.fit(bank.double().numpy(), labels.numpy()).predict_proba(queries.double().numpy())


def test_top_k_equals_scikit_learn(tmp_path):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (60,), generator=generator).tolist()
    scores = torch.randn(60, CLASSES, generator=generator)
    metric = TopKAccuracy(topk=(1, 3, 5), out_file=str(tmp_path / "scores.json"))
    metric.dataset_meta = dict(classes=tuple("abcdefg"), class_names=("crane", "crane", *"CDEFG"))
    samples = [scored(f"{i}.png", s, label) for i, (s, label) in enumerate(zip(scores, labels, strict=True))]
    metric.process(None, [*samples, samples[0], scored("bank.png", scores[0], 0, bank=True)])
    found = metric.evaluate(60)
    for k in (1, 3, 5):
        assert found[f"top{k}"] == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=k, labels=range(CLASSES)))
    predicted = scores.argmax(dim=1)
    right = [np.mean([p == t for p, t in zip(predicted, labels, strict=True) if t == c]) for c in range(CLASSES)]
    assert found["mean_per_class"] == pytest.approx(100 * np.mean(right))
    assert found.keys() == {"top1", "top3", "top5", "mean_per_class"}

    report = json.loads((tmp_path / "scores.json").read_text())
    assert (report["protocol"], report["skipped"], len(report["images"])) == ("topk", {}, 60)
    assert report["summary"] == found
    assert report["images"]["3.png"] == {
        **{f"top{k}": 100.0 * (labels[3] in scores[3].topk(k).indices) for k in (1, 3, 5)},
        "label": labels[3],
        "predicted": int(predicted[3]),
    }
    names = ["a crane", "b crane", "c C", "d D", "e E", "f F", "g G"]
    assert [report["classes"][c]["top1"] for c in names] == pytest.approx([100 * share for share in right])
    assert [report["classes"][c]["images"] for c in names] == [labels.count(c) for c in range(CLASSES)]
    assert sum(number for *_, number in report["confusions"]) == 60 - round(0.6 * found["top1"])
    truth, guess, number = report["confusions"][0]
    pairs = list(zip(labels, predicted.tolist(), strict=True))
    assert (
        number
        == pairs.count((names.index(truth), names.index(guess)))
        == max(pairs.count(pair) for pair in pairs if pair[0] != pair[1])
    )


def test_equal_scores_are_no_hits_for_every_class():
    """An untrained head of zeros has the accuracy of one guess."""
    metric = TopKAccuracy(topk=(1, 2))
    metric.process(None, [scored(f"{i}", torch.zeros(4), i % 4) for i in range(8)])
    assert metric.evaluate(8) == {"top1": 25.0, "top2": 50.0, "mean_per_class": 25.0}
    for row in np.random.default_rng(0).integers(0, 3, (50, 6)).astype(float):
        order = np.argsort(-row, kind="stable")
        assert [place_of(row, label) for label in order] == list(range(6))


def test_every_class_is_among_the_first_k_of_k(caplog):
    metric = TopKAccuracy()
    metric.process(None, [scored("a", torch.tensor([0.1, 0.5, 0.2]), 1), scored("b", torch.tensor([3.0, 0, 0]), 2)])
    assert metric.evaluate(2) == {"top1": 50.0, "mean_per_class": 50.0}


@pytest.mark.parametrize(
    ("sample", "classes", "says"),
    [
        (scored("x.png", [0.0, float("nan")], 0), None, "x.png: the model's scores are NaN"),
        (scored("x.png", [0.0, 1.0], 2), None, "x.png: the label is 2, the model predicts the classes 0 to 1"),
        (scored("x.png", [0.0, 1.0], -1), None, "the label is -1"),
        (scored("x.png", [0.0, 1.0], 0), "abc", "predicts 2 classes, the dataset has 3: set the model's number"),
        (scored("x.png", [0.0, 1.0], [0, 1]), None, "not one index of a class: use ImageFolderDataset"),
        (
            dict(img_path="x.png", gt_label=torch.tensor([0])),
            None,
            "no score for classes .pred_score.: use a classifier",
        ),
        (dict(img_path="x.png", pred_score=torch.zeros(2)), None, "x.png: gt_label is None"),
    ],
)
def test_samples_that_cannot_be_scored(sample, classes, says):
    metric = TopKAccuracy()
    metric.dataset_meta = dict(classes=classes and tuple(classes))
    with pytest.raises(DataError, match=says):
        metric.process(None, [sample])


def test_settings():
    for topk in ((), (0,), (1.5,), (101,)):
        with pytest.raises(ConfigError, match="topk"):
            TopKAccuracy(topk=topk)
    for options in (dict(ks=()), dict(ks=(0,)), dict(temperature=0), dict(shots=(0,)), dict(tries=0), dict(topk=())):
        with pytest.raises(ConfigError, match="KNNMetric"):
            KNNMetric(**options)


@pytest.mark.parametrize("name", ["top1", "top5", "val/top1", "mean_per_class", "knn_top1@20", "A/knn_top5@5_shots5"])
def test_greater_is_better(name):
    assert rule_of(name) == "greater"


def test_spread_has_no_direction():
    assert rule_of("knn_top1_std@5_shots5") is None


def test_knn_equals_scikit_learn():
    (bank, labels), (queries, _) = arrays([*featured(400)]), arrays([*featured(30, seed=1)])
    found = knn_scores(bank, labels, queries, CLASSES, (10, 20, 100, 200))
    for k, scores in found.items():
        expected = sklearn_scores(bank, labels, queries, k)
        np.testing.assert_allclose(scores / scores.sum(dim=1, keepdim=True), expected, atol=1e-6)
    assert found[200].sum(dim=1).numpy() == pytest.approx(1)  # one softmax over the largest k for every k
    assert (found[10] <= found[20]).all()
    with pytest.raises(ValueError, match=r"k must be in 1..400"):
        knn_scores(bank, labels, queries, CLASSES, (10, 401))


def test_neighbours_do_not_depend_on_blocks_or_parts(monkeypatch):
    (bank, _), (queries, _) = arrays([*featured(300)]), arrays([*featured(20, seed=1)])
    bank[100:200] = bank[:100]  # equal similarities
    places = torch.arange(300)
    whole = nearest(bank, places, queries, 50)
    order = torch.randperm(300)
    parts = [nearest(bank[rows], places[rows], queries, 50) for rows in order.split([3, 150, 147])]
    assert torch.equal(merge(parts, 50), whole)
    monkeypatch.setattr("samplug.evaluation.functional.knn._BLOCK", 1000)
    assert torch.equal(nearest(bank, places, queries, 50), whole)
    # A copy in the bank comes right after its original.
    labels = torch.arange(3)
    twice = knn_scores(torch.eye(3)[[0, 0, 1]], labels, torch.eye(3)[:1], 3, (1, 2), temperature=1)
    assert [twice[1][0].count_nonzero(), int(twice[1].argmax())] == [1, 0]
    assert twice[2][0, 0] == twice[2][0, 1] > 0 == twice[2][0, 2]


def knn_expected(bank, queries, ks, rows=slice(None)):
    features, labels = arrays(bank)
    wanted, truth = arrays(queries)
    found = knn_scores(features[rows], labels[rows], wanted, CLASSES, ks)
    return {k: 100 * float((scores.argmax(dim=1) == truth).double().mean()) for k, scores in found.items()}


def test_knn_metric(tmp_path):
    bank, queries = [*featured(150, bank=True)], [*featured(41, seed=1)]
    metric = KNNMetric(ks=(5, 10, 200), shots=(3, 8), tries=4, out_file=str(tmp_path / "knn.json"))
    for _ in range(2):  # as in two validations
        for batch in (queries[:10] + bank[:50], bank[40:], queries[9:]):
            metric.process(None, batch)
        found = metric.evaluate(41)
    for k, expected in knn_expected(bank, queries, (5, 10)).items():
        assert found[f"knn_top1@{k}"] == pytest.approx(expected)
    assert not any("@200" in name for name in found)  # more than the bank has
    labels = arrays(bank)[1]
    for shots, ks in ((3, (3,)), (8, (5, 8))):
        draws = []
        for seed in range(4):
            torch.manual_seed(seed)  # as DINOv2 draws
            places = [(labels == c).nonzero()[:, 0] for c in range(CLASSES)]
            rows = torch.cat([place[torch.randperm(len(place))[:shots]] for place in places])
            draws.append(knn_expected(bank, queries, ks, rows))
        for k in ks:
            values = [draw[k] for draw in draws]
            assert found[f"knn_top1@{k}_shots{shots}"] == pytest.approx(np.mean(values))
            assert found[f"knn_top1_std@{k}_shots{shots}"] == pytest.approx(np.std(values))
    assert 100 / CLASSES < found["knn_top1@10"] <= found["knn_top5@10"]
    report = json.loads((tmp_path / "knn.json").read_text())
    assert (report["protocol"], report["summary"], len(report["images"])) == ("knn", found, 41)


def test_a_bank_that_is_smaller_than_every_k():
    metric = KNNMetric()
    metric.process(None, [*featured(6, bank=True), *featured(3, seed=1)])
    assert {name.partition("@")[2] for name in metric.evaluate(3)} == {"6"}


def test_samples_that_have_no_neighbours():
    metric = KNNMetric(shots=(90,))
    broken = next(featured(1, seed=1))
    for value, says in (
        (None, "0000.png: the model gave no pred_feature"),
        (torch.full((16,), np.inf), "NaN or infinite"),
    ):
        sample = {**broken, "pred_feature": value}
        if value is None:
            del sample["pred_feature"]
        with pytest.raises(DataError, match=says):
            metric.process(None, [sample])
    metric.process(None, [broken])
    with pytest.raises(DataError, match="no bank: give the training images bank=True"):
        metric.evaluate(1)
    metric = KNNMetric(shots=(90,))
    metric.process(None, [*featured(50, bank=True)])
    with pytest.raises(DataError, match="no images to score"):
        metric.evaluate(0)
    metric.process(None, [*featured(50, bank=True), broken])
    with pytest.raises(DataError, match="fewer than shots=90: lower shots"):
        metric.evaluate(1)
    metric = KNNMetric()
    metric.dataset_meta = dict(classes=("a", "b"))
    metric.process(None, [*featured(50, bank=True), broken])
    with pytest.raises(DataError, match="the bank has the label 6, the scored set 2 classes: set classes_from"):
        metric.evaluate(1)


def test_sets_share_one_bank_which_no_other_metric_sees(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr("samplug.evaluation.sets_evaluator.print_log", lambda text, *args: logged.append(text))
    monkeypatch.setattr("samplug.evaluation.metrics.per_image.print_log", lambda text, *args: logged.append(text))
    bank = [*featured(90, bank=True, dataset_name="train")]
    sets = {"A": [*featured(20, seed=1, dataset_name="A")], "B": [*featured(15, seed=2, dataset_name="B")]}
    for sample in [*bank, *sets["A"], *sets["B"]]:
        sample["pred_score"] = torch.eye(CLASSES)[int(sample["gt_label"])]
    evaluator = SetsEvaluator([KNNMetric(ks=(5,)), TopKAccuracy()])
    for sample in [*bank[:30], *sets["A"], *bank[30:], *sets["B"]]:
        evaluator.process([sample])
    found = evaluator.evaluate(125)
    for name, queries in sets.items():
        assert found[f"{name}/knn_top1@5"] == pytest.approx(knn_expected(bank, queries, (5,))[5])
        assert found[f"{name}/top1"] == 100
    assert not any(name.startswith("train") for name in found)
    assert not [text for text in logged if "different" in text]  # sizes agree
    # One set, and a batch of both kinds.
    evaluator = SetsEvaluator([KNNMetric(ks=(5,)), TopKAccuracy()])
    evaluator.process([*bank, *sets["A"]])
    assert evaluator.evaluate(110)["knn_top1@5"] == found["A/knn_top1@5"]
    assert not [text for text in logged if "different" in text]


class MeanColour(BaseModel):
    """The mean colour of an image as its feature and its scores."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, data_samples=None, mode="predict"):
        for sample, colour in zip(data_samples, inputs.mean(dim=(2, 3)) * self.scale, strict=True):
            sample.pred_feature = colour
            sample.set_pred_score(colour)
        return data_samples


def test_a_test_run_with_a_bank(tmp_path, monkeypatch):
    """Blue, green and red images: the loader holds the training images as the bank, and the images to score."""
    monkeypatch.setitem(MODELS.module_dict, "MeanColour", MeanColour)
    for part, number in (("train", 4), ("val", 3)):
        for channel, name in enumerate(("1-blue", "2-green", "3-red")):
            for index in range(number):
                colour = np.full((8, 8, 3), 20 * index, np.uint8)
                colour[..., channel] = 250
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / part / name / f"{index}.png"), colour)
    dataset = dict(
        type="ImageFolderDataset",
        data_root=str(tmp_path),
        classes_from="train",
        pipeline=[dict(type="LoadImage"), dict(type="PackClassInputs")],
    )
    bank, val = dict(dataset, image_dir="train", bank=True), dict(dataset, image_dir="val", name="colours")
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="ConcatDataset", datasets=[bank, val]),
    )
    train = dict(dataset=dict(dataset, image_dir="train"))
    assert selection_warnings(dict(train_dataloader=train, val_dataloader=loader, test_dataloader=loader)) == [
        "data: validation and test use the same images (colours): the score of the best checkpoint is too good"
    ]
    cfg = Config.fromfile(ROOT / "configs/_base_/default_runtime.py")
    cfg.update(
        model=dict(type="MeanColour", data_preprocessor=dict(type="ImgDataPreprocessor")),
        test_dataloader=loader,
        test_cfg=dict(type="TestLoop"),
        test_evaluator=[
            dict(type="TopKAccuracy", out_file=str(tmp_path / "topk.json")),
            dict(type="KNNMetric", ks=(3,)),
        ],
        work_dir=str(tmp_path / "work"),
        load_from="untrained",
        launcher="none",
    )
    cfg.default_hooks.pop("visualization", None)
    metrics = build_runner(cfg).test()
    assert metrics == dict.fromkeys(["top1", "mean_per_class", "knn_top1@3"], 100.0)
    report = json.loads((tmp_path / "topk.json").read_text())
    assert len(report["images"]) == 9
    assert report["classes"].keys() == {"1-blue", "2-green", "3-red"}


def test_colour_histogram():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2] = (255, 0, 31)
    histogram = colour_histogram(image)
    assert (histogram.shape, histogram.dtype) == ((512,), np.float32)
    assert np.linalg.norm(histogram) == pytest.approx(1)
    assert histogram[[0, 7 * 64]] == pytest.approx(np.sqrt([0.5, 0.5]))


def test_baselines_of_imagenette(test_data):
    root = str(test_data / "data" / "imagenette_224")
    train, val = ImageFolderDataset(root, "train"), ImageFolderDataset(root, "val", classes_from="train")
    found = class_baselines(train, val)
    assert found["chance"] == dict(top1=10.0, top5=50.0, mean_per_class=10.0)
    for name in ("colour histogram, 20-NN", "colour histogram, logistic regression"):
        assert 20 < found[name]["top1"] < 60  # colours tell something, and not all
        assert found[name]["top1"] == pytest.approx(found[name]["mean_per_class"])  # classes of one size
