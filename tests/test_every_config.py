"""Every config in the repository is built, trained for two iterations, saved, resumed and tested; some only test."""

import inspect

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.datasets.synthetic import camouflage_scene
from tests.builders import write_bsds, write_sa1b
from tests.conftest import ROOT
from tests.shrink import shrink

RUN = set(inspect.signature(Runner.__init__).parameters)
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("configs", "projects")
    for path in (ROOT / folder).rglob("*.py")
    if "_base_" not in path.parts and path.stem != "parts"  # components of a project
)


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for part in ("images", "masks", "labels"):
        (root / part).mkdir()
    for index in range(12):
        image, mask = camouflage_scene(0, index, 40)
        cv2.imwrite(str(root / "images" / f"{index}.jpg"), image)
        cv2.imwrite(str(root / "masks" / f"{index}.png"), mask * np.uint8(255))
        cv2.imwrite(str(root / "labels" / f"{index}.png"), mask + np.uint8(1))  # classes from 1
        for folder in (f"train/{index % 2}", f"val/{index % 2}"):  # a class in each of two folders
            (root / "classes" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "classes" / folder / f"{index}.jpg"), image)
    write_sa1b(root / "sa1b")
    for split in ("train", "val"):
        halves = np.repeat([[1] * 75 + [2] * 75], 110, axis=0).astype(np.uint8)
        write_bsds(root / "bsds", "1", halves, split=split)
    return root


@pytest.fixture(scope="module")
def passed():
    """What has passed; configs that differ in what shrinking replaces (``arch``, epochs) are run once."""
    return set()


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny models gain nothing from threads, and lose much where processors are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def what_runs(cfg):
    return str({key: value for key, value in cfg.items() if key in RUN - {"work_dir", "auto_scale_lr"}})


def check_test(cfg):
    """A test gives finite scores."""
    for section in TRAIN_SECTIONS:
        cfg.pop(section, None)
    metrics = build_runner(cfg).test()
    assert metrics
    assert all(np.isfinite(value) for value in metrics.values() if isinstance(value, int | float))


@pytest.fixture
def _leave_process_group():
    """A config with a strategy makes a process group of this process alone."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_leave_process_group")
@pytest.mark.parametrize("name", CONFIGS)
def test_config(name, tmp_path, pair_folder, passed):
    def cfg(**changes):
        loaded = shrink(load_config(ROOT / name), tmp_path, pair_folder)
        loaded.merge_from_dict(changes)
        return loaded

    if what_runs(cfg()) in passed:
        return
    if "train_dataloader" not in cfg():
        check_test(cfg(load_from="untrained"))
        passed.add(what_runs(cfg()))
        return
    runner = build_runner(cfg())
    model = runner.train()
    trained = {key: value.clone() for key, value in model.state_dict().items()}
    optimised = {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.parameters() if p.requires_grad}
    checkpoint = (tmp_path / "last_checkpoint").read_text()

    unit = "iter" if "max_iters" in runner.cfg.train_cfg else "epoch"
    if best := runner.cfg.default_hooks.checkpoint.get("save_best"):
        assert list(tmp_path.glob(f"best_{best}_{unit}_*.pth"))

    # Interrupted after one iteration or epoch and resumed, the run goes on to the same end.
    runner = build_runner(cfg(resume=True, load_from=str(tmp_path / f"{unit}_1.pth")))
    model = runner.train()
    assert getattr(runner, unit) == 2
    assert set(model.state_dict()) == set(trained)
    if runner.cfg.default_scope == "samplug":  # MMEngine's loops, which other scopes name, do not promise it
        assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())

    check_test(cfg(load_from=checkpoint))
    assert torch.load(checkpoint, weights_only=False)["state_dict"].keys() == trained.keys()
    passed.add(what_runs(cfg()))
