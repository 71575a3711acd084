"""A protocol from outside the package: several files a prediction, label maps as ground truth, scores over regions; no
edit elsewhere.
"""

import json
import sys

import numpy as np
import pytest

from samplug.commands.run import main
from samplug.evaluation.directions import rule_of
from samplug.evaluation.protocols import PROTOCOLS, FileProtocol, Protocol, register_protocol
from samplug.utils.errors import ConfigError, DataError
from tests.datasets.broken import save

MODULE = '''
from dataclasses import dataclass

import numpy as np

from samplug.evaluation.protocols import FileProtocol, ImageResult, Predictions, list_samples, register_protocol
from samplug.imaging.files import read_mask


@register_protocol
@dataclass(frozen=True)
class Regions(FileProtocol):
    """Best IoU of any predicted mask for each region, means over all regions of the set."""

    name = "regions"
    columns = ("region_mIoU", "missed", "regions")
    lower_is_better = frozenset({"missed"})
    decimals = 3

    least: float = 0.5

    @classmethod
    def add_arguments(cls, parser):
        parser.add_argument("--least", type=float, default=0.5)

    def find_predictions(self, source, ground_truths, suffix=None, name=None):
        found = super().find_predictions(source, ground_truths, suffix, name)
        samples = {}
        for mask, files in found.files.items():
            samples[mask.split("_", 2)[2]] = samples.get(mask.split("_", 2)[2], ()) + files
        return Predictions(found.source, found.name, samples, found.read)

    def read_prediction(self, files, ground_truth):
        return [read_mask(path) > 0 for path in files]

    def read_ground_truth(self, files):
        return read_mask(files[0])

    def score(self, pred, ground_truth):
        regions = [ground_truth == label for label in np.unique(ground_truth)]
        best = [max((mask & region).sum() / (mask | region).sum() for mask in pred) for region in regions]
        return ImageResult({"region_mIoU": float(np.mean(best))}, {"best": best})

    def summarise(self, results):
        best = [iou for result in results for iou in result.extra["best"]]
        missed = float(np.mean([iou < self.least for iou in best]))
        return {"region_mIoU": float(np.mean(best)), "missed": missed, "regions": float(len(best))}
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_protocol.py").write_text(MODULE)
    halves, thirds = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    halves[:, 3:] = 1
    thirds[2:4], thirds[4:] = 1, 2
    for name, labels in (("a", halves), ("b_c", thirds)):
        save(tmp_path / "gt" / f"{name}.png", labels)
        for number in range(2):
            save(tmp_path / "pred" / f"mask_{number}_{name}.png", (labels == number).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    PROTOCOLS.pop("regions", None)
    sys.modules.pop("my_protocol", None)


def command(monkeypatch, *arguments):
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    assert main("evaluate", list(map(str, arguments))) == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_protocol_of_a_user(folder, monkeypatch, capsys, workers):
    arguments = ["regions", "--pred", "pred", "--gt", "gt", "--out", "o.json", "--workers", workers, "--least", "0.9"]
    command(monkeypatch, "--import", "my_protocol", *arguments)
    report = json.loads((folder / "o.json").read_text())
    assert report["protocol"] == "regions"
    assert report["images"]["a"] == {"region_mIoU": 1}
    assert report["summary"] == {"region_mIoU": 0.8, "missed": 0.2, "regions": 5}  # not the mean over images
    assert "0.800" in capsys.readouterr().out
    assert rule_of("missed") == "less"
    assert rule_of("stmd/region_mIoU") == "greater"


def test_what_is_wrong_is_said(folder, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="--import nowhere: there is no such module"):
        command(monkeypatch, "--import", "nowhere", "regions", "--pred", "pred", "--gt", "gt")
    with pytest.raises(SystemExit):
        command(monkeypatch, "regions", "--pred", "pred", "--gt", "gt")
    assert "invalid choice: 'regions'" in capsys.readouterr().err
    (folder / "pred" / "mask_0_b_c.png").unlink()
    (folder / "pred" / "mask_1_b_c.png").unlink()
    with pytest.raises(DataError, match="b_c: pred has no prediction of this name"):
        command(monkeypatch, "--import", "my_protocol", "regions", "--pred", "pred", "--gt", "gt")


def test_names_are_given_once():
    class Second(Protocol):
        name = "saliency"

    with pytest.raises(ConfigError, match=r"Saliency and .*Second are both called 'saliency'"):
        register_protocol(Second)
    assert not issubclass(PROTOCOLS["clicks"], FileProtocol)  # nothing to score in folders
