"""Metrics over several processes: every rank's images count, padded duplicates once, in their set."""

import json

import pytest
import torch
from mmengine.evaluator import BaseMetric

from samplug.evaluation.metrics import KNNMetric, SaliencyMetric, TopKAccuracy
from samplug.evaluation.sets_evaluator import SetsEvaluator
from tests.ranks import end, run_ranks


def samples(rank, ranks, number=7):
    """What a padded distributed sampler hands to a rank: as many as the others, the first ones twice; the last sample
    is a set of its own.
    """
    per_rank = -(-number // ranks)
    for index in [(rank + ranks * k) % number for k in range(per_rank)]:
        generator = torch.Generator().manual_seed(index)
        logits, gt = torch.randn(1, 9, 7, generator=generator), torch.randint(0, 2, (1, 9, 7), generator=generator)
        name = "C" if index == number - 1 else "AB"[index > 2]
        yield dict(img_path=f"{index}.png", dataset_name=name, seg_logits=dict(data=logits), gt_sem_seg=dict(data=gt))


class Mean(BaseMetric):
    """A metric that keeps a result for each sample, as those of other packages do."""

    default_prefix = "mean"

    def process(self, data_batch, data_samples):
        self.results += [sample["seg_logits"]["data"].mean().item() for sample in data_samples]

    def compute_metrics(self, results):
        return dict(value=sum(results) / len(results), number=len(results))


def class_samples(rank, ranks, number=31, bank=18):
    """The same for a bank and the images to classify in one dataset."""
    for index in [(rank + ranks * k) % number for k in range(-(-number // ranks))]:
        generator = torch.Generator().manual_seed(index)
        feature, scores = torch.randn(8, generator=generator), torch.randn(6, generator=generator)
        sample = dict(img_path=f"{index:02}.png", gt_label=torch.tensor([index % 3]), pred_score=scores)
        yield sample | dict(pred_feature=feature, **(dict(bank=True) if index < bank else {}))


def classified(rank, ranks):
    """Scores of classes; the padding repeats an image of the bank, or one that is scored."""
    found = {}
    for bank in (18, 0):
        metrics = [TopKAccuracy(), *([KNNMetric(ks=(1, 5, 15), shots=(2, 4))] if bank else [])]
        evaluator = SetsEvaluator(metrics)
        for sample in class_samples(rank, ranks, bank=bank):
            evaluator.process([sample])
        found |= {f"bank{bank}/{name}": value for name, value in evaluator.evaluate(size=31).items()}
    return found


def evaluated(rank, ranks):
    """Scores of all images as one set, and of the three sets; scores of classes."""
    own = list(samples(rank, ranks))
    metric = SaliencyMetric(workers=0)
    metric.process(None, own)
    evaluator = SetsEvaluator([SaliencyMetric(workers=0), Mean()])
    for sample in own:
        evaluator.process([sample])
    return metric.evaluate(size=7) | evaluator.evaluate(size=7) | classified(rank, ranks)


def main():
    torch.distributed.init_process_group("gloo")
    print("RESULT", json.dumps(evaluated(torch.distributed.get_rank(), 2)))


def test_two_ranks_equal_one():
    expected = evaluated(0, 1)
    assert [expected[f"{name}/mean/number"] for name in "ABC"] == [3, 3, 1]
    # Shares of 13 and of 31 images: one that counted twice would give others.
    assert all(
        (expected[f"{name}"] * n / 100) % 1 == pytest.approx(0) for name, n in (("bank18/top1", 13), ("bank0/top1", 31))
    )
    for printed in run_ranks("tests.evaluation.test_ranks"):
        line = next(line for line in printed.splitlines() if line.startswith("RESULT"))
        assert json.loads(line.removeprefix("RESULT")) == pytest.approx(expected, abs=1e-12)


if __name__ == "__main__":
    end(main)
