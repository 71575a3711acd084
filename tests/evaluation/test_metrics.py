"""The MMEngine side of the metrics."""

import json
import os
import signal
import time

import numpy as np
import pytest
import torch

from samplug.evaluation.functional import quantise
from samplug.evaluation.metrics import BERMetric, OverlapMetric, SaliencyMetric
from samplug.evaluation.protocols import Saliency, Shadow
from samplug.evaluation.scoring_pool import ScoringPool, ScoringWorkerDied
from samplug.evaluation.sets_evaluator import SetsEvaluator
from samplug.utils.errors import ConfigError, DataError


def sample(name, logits, gt, **more):
    return dict(img_path=name, seg_logits=dict(data=logits), gt_sem_seg=dict(data=gt[None]), **more)


def some(number=3, size=(9, 7)):
    torch.manual_seed(0)
    return [sample(f"{i}.png", torch.randn(1, *size), torch.randint(0, 2, size)) for i in range(number)]


def score(item):
    pred = quantise(item["seg_logits"]["data"][0].double().sigmoid().numpy())
    return Saliency().score(pred, item["gt_sem_seg"]["data"][0].numpy() == 1)


@pytest.mark.parametrize("workers", [0, 2, "auto"])
def test_scores_report_and_padding(tmp_path, workers):
    """A sample that a distributed sampler repeated counts once; the report holds every image."""
    data = some(20)
    metric = SaliencyMetric(out_file=str(tmp_path / "new" / "s.json"), workers=workers)
    metric.process(None, [*data, data[0]])
    summary = metric.evaluate(size=20)
    assert summary == pytest.approx(Saliency().summarise([score(item) for item in data]))
    report = json.loads((tmp_path / "new" / "s.json").read_text())
    assert report["protocol"] == "saliency"
    assert report["summary"] == pytest.approx(summary)
    assert set(report["images"]) == {item["img_path"] for item in data}
    # The next epoch starts anew.
    metric.process(None, data[:1])
    assert metric.evaluate(size=1)["S"] == pytest.approx(score(data[0]).scores["S"])


@pytest.mark.parametrize("workers", [0, 1])
def test_scores_of_an_evaluation_that_was_broken_off_are_replaced(workers):
    """Say by Ctrl-C in a notebook: the next one must not report scores of the weights before."""
    old, new = some(2), some(2)
    for item in old:
        item["seg_logits"] = dict(data=-item["seg_logits"]["data"])
    metric = SaliencyMetric(workers=workers)
    metric.process(None, old)
    metric.process(None, new)
    assert metric.evaluate(size=2)["S"] == pytest.approx(np.mean([score(item).scores["S"] for item in new]))


def test_the_table_comes_before_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    printed = []
    monkeypatch.setattr("samplug.evaluation.metrics.per_image.print_log", lambda text, *_: printed.append(text))
    (tmp_path / "file").write_text("")
    metric = SaliencyMetric(out_file=str(tmp_path / "file" / "scores.json"), workers=0)
    metric.process({}, some())
    with pytest.raises(DataError, match="file"):
        metric.evaluate(3)
    assert "| saliency" in printed[0]
    evaluator = SetsEvaluator([metric])
    evaluator.process(some())
    monkeypatch.setattr("samplug.evaluation.sets_evaluator.print_log", lambda text, *_: printed.append(text))
    with pytest.raises(DataError, match="file"):
        evaluator.evaluate(3)
    assert "| test set |" in printed[1]


@pytest.mark.parametrize(
    ("metric", "settings", "protocol"),
    [
        (SaliencyMetric, dict(mode="tssam", wf_beta2=0.3), Saliency(16, 0.3, "tssam")),
        (BERMetric, dict(mode="tssam"), Shadow(16, mode="tssam")),
    ],
)
def test_scores_as_tssam(metric, settings, protocol, tmp_path):
    """The model's square input, TS-SAM's settings; images without it are not scored."""
    data = some(4, (12, 20))
    for item in data[:3]:
        item["frame_logits"] = torch.randn(1, 16, 16)
    built = metric(source="input", prefix="tssam", out_file=str(tmp_path / "out.json"), **settings)
    built.process(None, data)
    metrics = built.evaluate(size=4)
    expected = []
    for item in data[:3]:
        pred = quantise(item["frame_logits"][0].double().sigmoid().numpy())
        expected.append(protocol.score(pred, item["gt_sem_seg"]["data"][0].numpy() == 1))
    assert metrics == pytest.approx({f"tssam/{name}": v for name, v in protocol.summarise(expected).items()})
    assert set(json.loads((tmp_path / "out.json").read_text())["images"]) == {f"{k}.png" for k in range(3)}
    with pytest.raises(ConfigError, match="leave out size=64"):
        SaliencyMetric(size=64, source="input")


def test_ignored_pixels():
    logits = torch.tensor([[[9.0, 9.0, -9.0]]])
    gt = torch.tensor([[1, 255, 0]])
    metric = OverlapMetric()
    metric.process(None, [sample("a", logits, gt)])
    assert metric.evaluate(size=1)["IoU"] == 1
    with pytest.raises(DataError, match=r"b\.png: the ground truth has ignored pixels"):
        SaliencyMetric().process(None, [sample("b.png", logits, gt)])


def test_two_classes():
    """The softmax over two logits is the sigmoid of their difference."""
    torch.manual_seed(0)
    logits, gt = torch.randn(2, 9, 7), torch.randint(0, 2, (9, 7))
    expected = score(sample("a", logits[1:] - logits[:1], gt)).scores
    for outputs, values in (("logits", logits), ("probabilities", logits.softmax(0))):
        metric = SaliencyMetric(foreground_class=1, outputs=outputs, workers=0)
        metric.process(None, [sample("a", values, gt)])
        assert metric.evaluate(size=1)["MAE"] == pytest.approx(expected["MAE"], abs=1e-4)
    with pytest.raises(ConfigError, match="foreground_class=1 is for two classes, the model has 1"):
        metric.process(None, [sample("a", logits[:1], gt)])


def test_overlap_threshold():
    logits = torch.tensor([[[2.0, 0.1, -3.0]]])
    gt = torch.tensor([[1, 0, 0]])
    for threshold, value in ((0.5, 0.5), (0.7, 1.0)):
        metric = OverlapMetric(threshold=threshold)
        metric.process(None, [sample("a", logits, gt)])
        assert metric.evaluate(size=1)["IoU"] == value


@pytest.mark.parametrize(
    ("metric", "setting"),
    [
        (SaliencyMetric, dict(size=0)),
        (SaliencyMetric, dict(wf_beta2=-1.0)),
        (BERMetric, dict(mode="tsam")),
        (BERMetric, dict(threshold=50)),
        (BERMetric, dict(pooling="set")),
        (OverlapMetric, dict(threshold=128)),
    ],
)
def test_settings_out_of_range_are_refused(metric, setting):
    with pytest.raises(ConfigError, match=f"{next(iter(setting))}="):
        metric(**setting)


def test_misfits_are_named():
    with pytest.raises(ValueError, match=r"truth \(2, 2\) of b\.png differ"):
        SaliencyMetric().process(None, [sample("b.png", torch.zeros(1, 2, 3), torch.zeros(2, 2))])
    with pytest.raises(ValueError, match=r"got 3 classes: use mmseg\.IoUMetric"):
        SaliencyMetric().process(None, [sample("b.png", torch.zeros(3, 2, 2), torch.zeros(2, 2))])


def test_what_has_no_score_is_an_error():
    """NaN would be cast to background; a third class would count as background."""
    broken = torch.tensor([[[1.0, float("nan")]]])
    with pytest.raises(DataError, match=r"OverlapMetric: b\.png: .* NaN"):
        OverlapMetric().process(None, [sample("b.png", broken, torch.zeros(1, 2))])
    with pytest.raises(DataError, match=r"b\.png: the ground truth has the label 2.*LoadBinaryMask"):
        OverlapMetric().process(None, [sample("b.png", torch.zeros(1, 1, 2), torch.tensor([[1, 2]]))])


def test_missing_images_are_reported(monkeypatch):
    said = []
    monkeypatch.setattr("samplug.evaluation.metrics.per_image.print_log", lambda text, *rest: said.append(text))
    metric = OverlapMetric()
    metric.process(None, some(2))
    metric.evaluate(size=5)
    assert "2 different images were scored, the data set has 5 samples" in said[0]


def _sleep_and_return(value):
    time.sleep(0.02)
    return value


def test_pool_keeps_all_and_waits():
    pool = ScoringPool(workers=2)
    for index in range(80):
        pool.submit(index, _sleep_and_return, index * 2)
        assert len(pool._pending) <= 32  # memory stays flat
    assert pool.finish() == {index: index * 2 for index in range(80)}
    assert pool.finish() == {}


class _Unbuildable(Exception):
    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


def _fail(how):
    class Local(Exception): ...

    if how == "result":
        return lambda: None
    raise Local("what happened") if how == "local" else _Unbuildable("what", "happened")


@pytest.mark.parametrize(
    ("how", "message"), [("local", "what happened"), ("unbuildable", "what: happened"), ("result", "pickle")]
)
def test_what_a_task_ends_with_is_told(how, message):
    """Not that memory ran out, where an exception or a result does not go through the pipe."""
    pool = ScoringPool(workers=1)
    pool.submit("x.png", _fail, how)
    with pytest.raises(Exception, match=message):
        pool.finish()


def _interrupt(value):
    os.kill(os.getpid(), signal.SIGINT)
    return value


def test_interrupt_is_the_parents():
    """Ctrl-C reaches the workers too; each would print its own traceback."""
    pool = ScoringPool(workers=1)
    pool.submit("x.png", _interrupt, 3)
    assert pool.finish() == {"x.png": 3}


def _die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_is_an_error_not_a_hang():
    pool = ScoringPool(workers=1)
    pool.submit("x.png", _die, 0)
    with pytest.raises(ScoringWorkerDied, match=r"x\.png.*workers=0"):
        pool.finish()
