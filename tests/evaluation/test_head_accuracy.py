"""Scores of a probe's heads, in one and two processes."""

import json

import pytest
import torch
from mmengine.logging import MessageHub

from samplug.evaluation.directions import rule_of
from samplug.evaluation.metrics import HeadAccuracy
from samplug.evaluation.metrics.heads import HEADS_KEY
from samplug.evaluation.sets_evaluator import SetsEvaluator
from samplug.utils.errors import ConfigError
from tests.ranks import end, run_ranks

HEADS = ("a", "b", "c")
# Place of the true class, for 7 images and 3 heads.
RANKS = torch.tensor([[0, 0, 9], [0, 1, 0], [3, 0, 9], [9, 0, 9], [5, 0, 9], [0, 5, 9], [9, 9, 9]])
LOSSES = torch.arange(21.0).reshape(7, 3)


def samples(rank=0, ranks=1, head=None, classes=10):
    """What a padded distributed sampler hands to a rank: the first images twice."""
    for index in [(rank + ranks * k) % 7 for k in range(-(-7 // ranks))]:
        yield dict(
            img_path=f"{index}.jpg", head_ranks=RANKS[index], head_losses=LOSSES[index], heads=HEADS, head=head,
            num_classes=classes,
        )  # fmt: skip


def scores(rank, ranks, **arguments):
    metric = SetsEvaluator([HeadAccuracy(**arguments)])
    for sample in samples(rank, ranks):
        metric.process([sample])
    return metric.evaluate(size=7)


def test_scores_of_the_best_head():
    """Percent; the first of several best heads."""
    found = scores(0, 1)
    assert found == pytest.approx(dict(top1=400 / 7, top5=500 / 7, val_loss=LOSSES[:, 1].mean().item(), head=1))
    every = MessageHub.get_current_instance().get_info(HEADS_KEY)
    assert {name: row["top1"] for name, row in every.items()} == pytest.approx(dict(a=300 / 7, b=400 / 7, c=100 / 7))
    tied = HeadAccuracy()
    tied.process(None, [{**sample, "head_ranks": torch.tensor([1, 0, 0])} for sample in samples()])
    assert tied.evaluate(7)["head"] == 1


def test_scores_of_the_head_that_was_chosen_before():
    """On a test set no head is chosen."""
    metric = HeadAccuracy(choose=False)
    metric.process(None, list(samples(head=2)))
    assert metric.evaluate(7) == pytest.approx(dict(top1=100 / 7, top5=100 / 7, val_loss=11, head=2))
    metric.process(None, list(samples()))
    with pytest.raises(ConfigError, match="the model has chosen no head"):
        metric.evaluate(7)


def test_five_classes_have_no_top5():
    metric = HeadAccuracy()
    metric.process(None, list(samples(classes=5)))
    assert set(metric.evaluate(7)) == {"top1", "val_loss", "head"}


def test_samples_of_another_model_are_an_error():
    with pytest.raises(ConfigError, match="use it with a LinearProbe and labelled images"):
        HeadAccuracy().process(None, [dict(img_path="0.jpg")])


def test_directions():
    assert (rule_of("top1"), rule_of("val_loss")) == ("greater", "less")


def main():
    torch.distributed.init_process_group("gloo")
    print("RESULT", json.dumps(scores(torch.distributed.get_rank(), 2)))


def test_two_ranks_equal_one():
    expected = scores(0, 1)
    for printed in run_ranks("tests.evaluation.test_head_accuracy"):
        line = next(line for line in printed.splitlines() if line.startswith("RESULT"))
        assert json.loads(line.removeprefix("RESULT")) == pytest.approx(expected, abs=1e-12)


if __name__ == "__main__":
    end(main)
