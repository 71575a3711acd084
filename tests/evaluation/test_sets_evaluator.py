"""A row for each test set, for any metric."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import EVALUATOR, METRICS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import ConcatDataset, Dataset

from samplug.engine import SamplugRunner
from samplug.evaluation.sets_evaluator import SetsEvaluator, check_reports
from samplug.utils.files import WriteError
from tests.evaluation.test_metrics import score, some


@METRICS.register_module()
class Collected(BaseMetric):
    """Names what it is given."""

    default_prefix = "got"

    def process(self, data_batch, data_samples):
        pairs = zip(data_batch["inputs"], data_samples, strict=True)
        self.results += [(int(image.max()), sample["value"]) for image, sample in pairs]

    def compute_metrics(self, results):
        assert all(image == value for image, value in results)
        return dict(sum=float(sum(value for _, value in results)), number=len(results), unit=self.dataset_meta["unit"])


class Numbers(Dataset):
    """Samples that hold their number; a name only where ``named``."""

    def __init__(self, numbers, named=None, **metainfo):
        self.numbers, self.named, self.metainfo = numbers, named, metainfo

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        number = self.numbers[index]
        sample = BaseDataElement(metainfo=dict(value=number))
        if self.named:
            sample.set_metainfo(dict(dataset_name=self.named))
        return dict(inputs=torch.full((1, 1, 1), number), data_samples=sample)


class Echo(BaseModel):
    def forward(self, inputs, data_samples=None, mode="tensor"):
        return data_samples


def run(tmp_path, parts, evaluator, runner=SamplugRunner):
    dataset = ConcatDataset(parts)
    dataset.metainfo = dict(unit="none")
    loader = dict(batch_size=4, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)
    if runner is Runner:
        loader = Runner.build_dataloader({**loader, "collate_fn": dict(type="pseudo_collate")})
    settings = dict(test_dataloader=loader, test_cfg=dict(type="TestLoop"), test_evaluator=evaluator)
    built = runner(
        Echo(), str(tmp_path), **settings, load_from="untrained" if runner is SamplugRunner else None,
        experiment_name=f"{tmp_path.name}-{runner.__name__}", default_scope="samplug",
        cfg=Config(dict(default_scope="samplug")),
    )  # fmt: skip
    return built.test()


def test_any_metric_has_rows(tmp_path):
    """Of named and of unnamed sets, whose borders no batch keeps; each copy knows its set's classes."""
    parts = [
        Numbers([1, 2, 3], "A", dataset_name="A", unit="m"),
        Numbers([4, 5], dataset_name="B", unit="s"),
        Numbers([6, 7, 8, 9], unit="kg"),
    ]
    found = run(tmp_path, parts, [dict(type="Collected")])
    assert found == {
        "A/got/sum": 6, "A/got/number": 3, "A/got/unit": "m",
        "B/got/sum": 9, "B/got/number": 2, "B/got/unit": "s",
        "set2/got/sum": 30, "set2/got/number": 4, "set2/got/unit": "kg",
    }  # fmt: skip


def test_one_set_is_as_usual(tmp_path):
    assert run(tmp_path, [Numbers([1, 2], unit="m")], dict(type="Collected"))["got/sum"] == 3


def test_by_name_in_the_runner_of_mmengine(tmp_path):
    parts = [Numbers([1, 2, 3], "A"), Numbers([4, 5], "B")]
    evaluator = dict(type="samplug.SetsEvaluator", metrics=[dict(type="Collected")])
    found = run(tmp_path, parts, evaluator, Runner)
    assert found["A/got/sum"] == 6
    assert found["B/got/number"] == 2


def test_reports_and_epochs(tmp_path):
    """Files of their own, given once; the next epoch begins anew."""
    data = some(5)
    for index, item in enumerate(data):
        item["dataset_name"] = "AB"[index % 2]
    evaluator = SetsEvaluator(dict(type="samplug.SaliencyMetric", out_file=str(tmp_path / "s.json"), prefix="test"))
    for _ in range(2):
        evaluator.process(data)
        metrics = evaluator.evaluate(size=5)
        assert metrics["A/test/S"] == pytest.approx(np.mean([score(data[k]).scores["S"] for k in (0, 2, 4)]))
        assert metrics["B/test/wF"] == pytest.approx(np.mean([score(data[k]).scores["wF"] for k in (1, 3)]))
        assert set(json.loads((tmp_path / "s.B.json").read_text())["images"]) == {"1.png", "3.png"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.A.json", "s.B.json"]
    evaluator.process(data[::2])
    assert evaluator.evaluate(size=3)["test/S"] == pytest.approx(metrics["A/test/S"])
    assert (tmp_path / "s.json").exists()


def test_a_report_that_cannot_be_written_costs_nothing_else(tmp_path):
    """The other reports, the table and the records of the run are written; the error is raised at the end."""
    (tmp_path / "file").write_text("")
    metrics = [
        dict(type="samplug.SaliencyMetric", workers=0, out_file=str(tmp_path / "file/s.json")),
        dict(type="samplug.OverlapMetric", workers=0, out_file=str(tmp_path / "o.json")),
    ]
    alone = SetsEvaluator(metrics)
    alone.process(some(1))
    with pytest.raises(WriteError, match=r"file/s\.json cannot be written"):
        alone.evaluate(1)
    assert (tmp_path / "o.json").is_file()

    in_runner = SetsEvaluator(metrics)
    in_runner.describe([0], lambda: Echo())
    in_runner.process(some(1))
    assert {"S", "IoU"} <= in_runner.evaluate(1).keys()
    with pytest.raises(WriteError, match=r"file/s\.json cannot be written"):
        check_reports(SimpleNamespace(evaluator=in_runner))
    check_reports(SimpleNamespace(evaluator=in_runner))  # once
    check_reports(SimpleNamespace())


def test_the_printed_table(monkeypatch):
    """Sets, and in each the row as TS-SAM; a table for each protocol."""
    printed = []
    monkeypatch.setattr("samplug.evaluation.sets_evaluator.print_log", lambda text, *_: printed.append(text))
    data = some(4)
    for index, item in enumerate(data):
        item.update(dataset_name="AB"[index % 2], frame_logits=torch.randn(1, 16, 16))
    evaluator = SetsEvaluator(
        [
            dict(type="samplug.SaliencyMetric"),
            dict(type="samplug.BERMetric"),
            dict(type="samplug.SaliencyMetric", source="input", mode="tssam", prefix="tssam", label="as TS-SAM"),
        ]
    )
    evaluator.process(data)
    metrics = evaluator.evaluate(size=4)
    assert {"A/S", "B/tssam/S", "B/BER"} <= set(metrics)
    saliency, shadow = printed
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in saliency.strip().splitlines()]
    assert [row[0] for row in rows[2:]] == ["A", "A, as TS-SAM", "B", "B, as TS-SAM"]
    assert rows[3][1] == f"{metrics['A/tssam/S']:.4f}"
    assert f"| {metrics['A/BER']:.2f} |" in shadow


def test_metrics_of_one_name(monkeypatch):
    """mmseg's mIoU beside the mean IoU over thresholds: both are there at the end of the validation."""
    warnings = []
    monkeypatch.setattr("samplug.evaluation.sets_evaluator.print_log", lambda text, *_: warnings.append(text))
    evaluator = SetsEvaluator(
        [
            dict(type="samplug.OverlapMetric", workers=0),
            dict(type="mmseg.IoUMetric", iou_metrics=["mIoU"]),
            dict(type="mmseg.IoUMetric"),
        ]
    )
    evaluator.dataset_meta = dict(classes=("background", "object"))
    sample = SegDataSample(metainfo=dict(img_path="a.png"))
    sample.seg_logits = PixelData(data=torch.tensor([[[2.0, 0.1, -3.0]]]))
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[1, 1, 0]]]))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[1, 0, 0]]]))
    evaluator.process([sample])
    found = evaluator.evaluate(1)
    assert found["mIoU"] != found["IoUMetric/mIoU"] == found["IoUMetric2/mIoU"] == 50
    assert any("IoUMetric's is called IoUMetric/mIoU" in text for text in warnings)


def test_it_is_found_by_name():
    assert isinstance(EVALUATOR.build(dict(type="samplug.SetsEvaluator", metrics=[])), SetsEvaluator)
