"""Test runs that find masks of everything, by one key of the model's config."""

import json
import pickle

import numpy as np
import pytest
import torch

from samplug.generation import MaskGenerator
from samplug.utils.rle import decode_rle
from tests.conftest import ROOT
from tests.generation.test_models import SAM, SAM2, build
from tests.processes import run_python
from tests.ranks import shell

CONFIG = """
_base_ = {base!r}
model = dict(_delete_=True, type='PromptableSAM', **{model!r})
val_evaluator = None
val_dataloader = None
val_cfg = None
test_evaluator = [
    dict(type='TextureMetric', out_file={out!r}),
    dict(type='DumpResults', out_file_path={dump!r}),
]
"""
# The preset, with what the answers of random weights need; options of the command line, as text.
GENERATOR = [
    "model.mask_generator=dict(preset='texturesam', points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0)",
]
TINY = ["data_size=48", "img_size=64", "test_length=5", "num_workers=0", "test_dataloader.batch_size=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    torch.save(dict(state_dict=build(SAM).state_dict(), meta={}), root / "model.pth")
    return root


def command(home, name):
    path = home / f"{name}.py"
    out, dump = str(home / f"{name}.json"), str(home / f"{name}.pkl")
    path.write_text(CONFIG.format(base=str(ROOT / "configs/quickstart.py"), model=SAM, out=out, dump=dump))
    return [path, home / "model.pth", "--device", "cpu", "--work-dir", home / f"work_{name}"]


def test_two_processes_of_the_script_equal_one(home):
    """Masks and scores of five images over two ranks, of which one is padded."""
    options = ["--cfg-options", *TINY, *GENERATOR]
    run = run_python("tools/test.py", *command(home, "one"), *options, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    shell("dist_test.sh", *command(home, "two")[:2], 2, *command(home, "two")[2:], *options)
    one, two = (json.loads((home / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["images"].keys() == two["images"].keys()
    assert len(one["images"]) == 5
    for name, scores in one["images"].items():
        assert two["images"][name] == pytest.approx(scores, abs=1e-6)
    assert two["summary"] == pytest.approx(one["summary"], abs=1e-6)
    assert one["summary"]["images"] == 5
    samples = [pickle.loads((home / f"{name}.pkl").read_bytes()) for name in ("one", "two")]
    for first, second in zip(*samples, strict=True):
        found, same = first["pred_instances"], second["pred_instances"]
        assert found["masks"] == same["masks"]
        assert len(found["masks"]) > 0
        for name in ("points", "bboxes", "scores", "stability_scores"):
            assert torch.equal(found[name], same[name])
        assert found["scores"].shape == found["stability_scores"].shape == (len(found["masks"]),)
        for mask, (x0, y0, x1, y1) in zip(found["masks"], found["bboxes"].long().tolist(), strict=True):
            rows, columns = decode_rle(mask).nonzero()
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)


def test_masks_of_everything_in_mmdets_coco_metric(tmp_path):
    """Average precision of the masks as predictions of objects: 1 where they are the truth."""
    from mmdet.evaluation import CocoMetric
    from mmengine.structures import InstanceData

    model = build(SAM)
    settings = dict(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    found = MaskGenerator("texturesam", **settings).generate(model, image).instances()
    assert isinstance(found, InstanceData)
    assert len(found) > 0
    truth = [
        dict(bbox=box, bbox_label=0, mask=mask, ignore_flag=0)
        for box, mask in zip(found.bboxes.tolist(), found.masks, strict=True)
    ]
    metric = CocoMetric(metric=["bbox", "segm"], outfile_prefix=str(tmp_path / "coco"))
    metric.dataset_meta = dict(classes=("object",))
    sample = dict(img_id=1, ori_shape=(40, 56), pred_instances=dict(found.items()), instances=truth)
    metric.process({}, [sample])
    scores = metric.evaluate(1)
    assert scores["coco/segm_mAP"] == scores["coco/bbox_mAP"] == 1


@pytest.mark.parametrize("kind", [SAM, SAM2], ids=["sam", "sam2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_mixed_precision(kind, dtype):
    """Half precision finds finite scores, and much the same masks."""
    model = build(kind)
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    settings = dict(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.01, box_nms_thresh=1.0)
    exact = MaskGenerator.of(model, **settings).generate(model, image)
    with torch.autocast("cpu", dtype):
        half = MaskGenerator.of(model, **settings).generate(model, image)
    assert len(half) > 0
    assert half.scores.isfinite().all()
    assert half.stability.isfinite().all()
    assert abs(len(half) - len(exact)) <= 3
    torch.testing.assert_close(half.scores.max(), exact.scores.max(), atol=0.02, rtol=0)
