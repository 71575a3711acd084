"""Metrics over several processes: every rank's images count, padded duplicates once."""

import json

import pytest
import torch

from samplug.evaluation.metrics import SaliencyMetric
from tests.ranks import end, run_ranks


def samples(rank, ranks, number=7):
    """What a padded distributed sampler hands to a rank: as many as the others, the first ones twice."""
    per_rank = -(-number // ranks)
    for index in [(rank + ranks * k) % number for k in range(per_rank)]:
        generator = torch.Generator().manual_seed(index)
        logits, gt = torch.randn(1, 9, 7, generator=generator), torch.randint(0, 2, (1, 9, 7), generator=generator)
        yield dict(img_path=f"{index}.png", seg_logits=dict(data=logits), gt_sem_seg=dict(data=gt))


def main():
    torch.distributed.init_process_group("gloo")
    metric = SaliencyMetric(workers=0)
    metric.process(None, list(samples(torch.distributed.get_rank(), 2)))
    print("RESULT", json.dumps(metric.evaluate(size=7)))


def test_two_ranks_equal_one():
    alone = SaliencyMetric()
    alone.process(None, list(samples(0, 1)))
    expected = alone.evaluate(size=7)
    for printed in run_ranks("tests.evaluation.test_ranks"):
        line = next(line for line in printed.splitlines() if line.startswith("RESULT"))
        assert json.loads(line.removeprefix("RESULT")) == pytest.approx(expected, abs=1e-12)


if __name__ == "__main__":
    end(main)
