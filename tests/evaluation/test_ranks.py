"""Metrics over several processes: every rank's images count, padded duplicates once."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from samplug.evaluation.metrics import SaliencyMetric
from tests.conftest import ROOT


def samples(rank, ranks, number=7):
    """What a padded distributed sampler hands to a rank: as many as the others, the first ones twice."""
    per_rank = -(-number // ranks)
    for index in [(rank + ranks * k) % number for k in range(per_rank)]:
        generator = torch.Generator().manual_seed(index)
        logits, gt = torch.randn(1, 9, 7, generator=generator), torch.randint(0, 2, (1, 9, 7), generator=generator)
        yield dict(img_path=f"{index}.png", seg_logits=dict(data=logits), gt_sem_seg=dict(data=gt))


def main(rank, ranks):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    metric = SaliencyMetric(workers=0)
    metric.process(None, list(samples(rank, ranks)))
    print("RESULT", json.dumps(metric.evaluate(size=7)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_ranks_equal_one():
    alone = SaliencyMetric()
    alone.process(None, list(samples(0, 1)))
    expected = alone.evaluate(size=7)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.evaluation.test_ranks", str(rank)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=ROOT,
        )
        for rank in range(2)
    ]  # fmt: skip
    for run in runs:
        out, error = run.communicate(timeout=120)
        assert run.returncode == 0, error
        line = next(line for line in out.splitlines() if line.startswith("RESULT"))
        assert json.loads(line.removeprefix("RESULT")) == pytest.approx(expected, abs=1e-12)


if __name__ == "__main__":
    main(int(sys.argv[1]), 2)
