"""Test runs of masks of everything on real images: several sets, one process and two."""

import json

import cv2
import numpy as np
import pytest
import torch

from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.evaluation.functional.texturesam import PUBLISHED
from samplug.evaluation.protocols import Texture
from samplug.registry import MODELS
from tests.builders import TINY_HIERA
from tests.conftest import ROOT
from tests.ranks import run_ranks

CONFIG = ROOT / "configs/texture/masks_sam2.1-hiera-s_rwtd-1024.py"
STEMS = ("1", "101", "104", "12", "121")
# Random weights answer with speckle over the whole image: the highest logits are the most local.
OPEN = dict(
    points_per_side=5, pred_iou_thresh=0.0, mask_threshold=2.0, stability_score_thresh=0.02, box_nms_thresh=0.95
)
SETS = {"RWTD": "rwtd", "STMD": "stmd", "ADE20K": "ade20k"}


@pytest.fixture(scope="module")
def root(test_data, tmp_path_factory):
    """The same images of RWTD in three layouts, and a model of random weights."""
    out = tmp_path_factory.mktemp("texture")
    source = test_data / "data/rwtd"
    for folders, prefix in (
        (("rwtd/images", "rwtd/labeles"), ""),
        (("stmd/images_test", "stmd/labels_test"), ""),
        (("ade20k/images", "ade20k/ADE20K_unified_gt_instances"), "unified_"),
    ):
        for folder in folders:
            (out / folder).mkdir(parents=True)
        for stem in STEMS:
            (out / folders[0] / f"{stem}.jpg").symlink_to(source / f"images/{stem}.jpg")
            (out / folders[1] / f"{prefix}{stem}.png").symlink_to(source / f"labels/{stem}.png")
    (out / "stmd/test.txt").write_text("12\n1\n")
    torch.manual_seed(0)
    model = MODELS.build(config(out, out).model)
    model.backbone.init_weights()
    with torch.no_grad():  # logits of a useful size
        for mlp in model.decode_head.mask_layers.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(20)
    torch.save(dict(state_dict=model.state_dict()), out / "model.pth")
    return out


def config(root, work_dir, **options):
    options |= {f"{name}_root": str(root / name) for name in SETS.values()}
    cfg = load_config(CONFIG, dict(img_size=64, num_workers=0, **options))
    cfg.model.backbone.update(arch=TINY_HIERA, init_cfg=None)
    cfg.model.decode_head.pop("init_cfg")
    cfg.model.mask_generator.update(OPEN)
    for evaluator, name in zip(cfg.test_evaluator, ("strict", "texturesam"), strict=True):
        evaluator.update(out_file=str(work_dir / f"{name}.json"), workers=0)
    cfg.update(work_dir=str(work_dir), load_from=str(root / "model.pth"), launcher="none")
    return cfg


@pytest.fixture(scope="module")
def one(root):
    """Scores and log of one process, on all three sets."""
    cfg = config(root, root / "one", test_sets=list(SETS.values()))
    cfg.default_hooks.visualization = dict(type="OverlayHook", overlay_dir=str(root / "overlays"))
    metrics = build_runner(cfg).test()
    (log,) = (root / "one").glob("*/*.log")
    return metrics, log.read_text()


def test_each_set_has_its_own_meaning_and_rows(root, one):
    metrics, log = one
    for name, layout in SETS.items():
        strict = json.loads((root / f"one/strict.{name}.json").read_text())
        assert len(strict["images"]) == (2 if name == "STMD" else 5)
        assert metrics[f"{name}/ARI"] == strict["summary"]["ARI"]
        assert metrics[f"{name}/images"] > 0  # the model does find masks
        assert metrics[f"{name}/regions_all"] == len(strict["images"]) * (1 if layout == "ade20k" else 2)
        assert f"| {name}, texturesam" in log
        for model, row in PUBLISHED[layout].items():
            assert f"| {name}, published: {model} " in log, model
            assert f"{row[0]:.4f}" in log
    assert metrics["RWTD/mIoU"] != metrics["ADE20K/mIoU"]


def test_the_run_scores_as_the_protocol(root, one):
    """The masks that the model predicts, scored outside of the run."""
    model = MODELS.build(config(root, root).model)
    model.load_state_dict(torch.load(root / "model.pth", weights_only=True)["state_dict"])
    strict = json.loads((root / "one/strict.RWTD.json").read_text())["images"]
    for stem in STEMS[:2]:
        (path,) = (name for name in strict if name.endswith(f"/{stem}.jpg"))
        image = cv2.imread(path)
        found = model.eval().mask_generator.generate(model, image[..., ::-1].copy())
        labels = cv2.imread(str(root / f"rwtd/labeles/{stem}.png"), cv2.IMREAD_UNCHANGED)
        scores = Texture().score(found.masks, labels).scores
        assert scores == pytest.approx(strict[path], abs=0.05)  # the image is resized by another library
    overlay = cv2.imread(str(root / f"overlays/RWTD/{STEMS[0]}.png"))
    assert overlay.shape == (256, 512, 3)
    truth = overlay[:, 256:]
    assert np.abs(truth.astype(int) - cv2.imread(str(root / f"rwtd/images/{STEMS[0]}.jpg"))).mean() > 5


def test_two_processes_equal_one(root, one):
    """Five images over two ranks, one is padded; a set of two and one of five."""
    cfg = config(root, root / "two", test_sets=list(SETS.values()))
    cfg.pop("launcher")
    cfg.dump(str(root / "two.py"))
    command = ["test", root / "two.py", root / "model.pth", "--launcher", "pytorch", "--work-dir", root / "two"]
    run_ranks("samplug", *command)
    for name in SETS:
        for kind in ("strict", "texturesam"):
            two, alone = (json.loads((root / where / f"{kind}.{name}.json").read_text()) for where in ("two", "one"))
            assert two == alone
