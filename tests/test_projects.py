"""The template, copied and changed as docs/new_task.md says."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from samplug.config import load_config
from samplug.datasets.synthetic import camouflage_scene
from samplug.registry import PARAM_SCHEDULERS
from tests.conftest import ROOT
from tests.processes import run_python

TINY = [
    "--cfg-options", "img_size=32", "batch_size=4", "max_epochs=2", "num_workers=0", "val_fraction=0.2", "test_fraction=0.2", "lr=0.002",
]  # fmt: skip


def blocks(language: str) -> list[str]:
    """Code of the page, by language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/new_task.md").read_text(), flags=re.S)


@pytest.fixture
def here(tmp_path):
    """A folder as the page describes it."""
    for kind in ("images", "masks"):
        (tmp_path / "data/my_task" / kind).mkdir(parents=True)
    for index in range(30):
        image, mask = camouflage_scene(0, index, 40)
        cv2.imwrite(str(tmp_path / f"data/my_task/images/{index:04}.jpg"), image)
        cv2.imwrite(str(tmp_path / f"data/my_task/masks/{index:04}.png"), mask * np.uint8(255))
    folder = tmp_path / "projects/my_task"
    folder.mkdir(parents=True)
    *_, parts, use = blocks("python")
    (folder / "parts.py").write_text(parts)
    tiny = (
        "model = dict(backbone=dict(init_cfg=None, img_size=img_size, arch=dict(_delete_=True, embed_dims=16, depth=2, num_heads=2, "
        "global_attn_indexes=(1,))), loss='bce_iou')\n"
    )
    (folder / "my_task.py").write_text((ROOT / "projects/template/my_task.py").read_text() + tiny + use)
    return tmp_path


def test_template(here):
    def tool(name: str, *arguments: str) -> str:
        run = run_python(ROOT / f"tools/{name}.py", "projects/my_task/my_task.py", *arguments, cwd=here)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
        return run.stdout + run.stderr

    said = tool("check_data", *TINY)
    for part, number in (("train", 18), ("val", 6), ("test", 6)):
        assert re.search(
            rf"  ok  {part:5} {part}: {number} images \({part} part of 30\), masks 0/255, .*, foreground \d", said
        )
    assert "only 6 validation images choose the best checkpoint" in said
    tool("browse_dataset", "--out-dir", "look", *TINY)
    assert list((here / "look").rglob("*.png"))
    assert "only 6 validation images choose" in tool("train", "--device", "cpu", *TINY)
    (best,) = (here / "work_dirs/my_task").glob("best_mDice_epoch_*.pth")
    said = tool("test", str(best), "--device", "cpu", *TINY, "test_evaluator.0.out_file=scores.json")
    (error,) = re.findall(r"AreaError: ([\d.]+)", said)
    assert 0 <= float(error) < 1
    scores = json.loads((here / "scores.json").read_text())
    assert len(scores["images"]) == 6
    assert 0 < scores["summary"]["mDice"] <= 1
    tool("predict", str(best), "data/my_task/images", "--out-dir", "out", "--device", "cpu", *TINY)
    assert len(list((here / "out/masks").iterdir())) == 30


def test_other_blocks_of_the_page(tmp_path):
    """Mask values, a separate test set, and the small base."""
    values, own, small, *_ = blocks("python")
    folder = tmp_path / "projects/my_task"
    shutil.copytree(ROOT / "projects/small", tmp_path / "projects/small")
    folder.mkdir()
    (folder / "my_task.py").write_text((ROOT / "projects/template/my_task.py").read_text() + values + own)
    cfg = load_config(folder / "my_task.py")
    sets = [cfg[f"{part}_dataloader"].dataset for part in ("train", "val", "test")]
    assert [dataset.mask_values for dataset in sets] == [dict(foreground=[1, 2], background=[0], ignore=[255])] * 3
    assert [(dataset.image_dir, dataset.part) for dataset in sets] == [
        ("images", "train"), ("images", "val"), ("test/images", None),
    ]  # fmt: skip
    (folder / "my_task_small.py").write_text(small)
    cfg = load_config(folder / "my_task_small.py")
    assert cfg.train_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == "data/my_task"
    assert cfg.load_from == "quickstart_results/iter_1300.pth"


@pytest.mark.parametrize("iterations", [2, 10, 30, 400])
@pytest.mark.parametrize(
    "config", ["configs/quickstart.py", "projects/small/prompted-small_folders-256.py", "projects/small/ts-sam-small_folders-128.py"]
)  # fmt: skip
def test_a_short_run_has_its_learning_rate_too(config, iterations):
    cfg = load_config(ROOT / config, {"max_iters": iterations, "lr": 0.125})
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = [
        PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=optimizer)) for schedule in cfg.param_scheduler
    ]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        for scheduler in schedulers:
            scheduler.step()
    assert max(rates) == pytest.approx(0.125)
    assert rates[-1] < 0.02 or iterations == 2
