"""Every config in the repository is built, trained for two iterations, saved, resumed and tested."""

import cv2
import numpy as np
import pytest
import torch

from samplug.config import load_config
from samplug.datasets.synthetic import camouflage_scene
from samplug.engine.cli import TRAIN_SECTIONS, build_runner
from tests.conftest import ROOT
from tests.shrink import shrink

CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("configs", "projects")
    for path in (ROOT / folder).rglob("*.py")
    if "_base_" not in path.parts
)


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for part in ("images", "masks"):
        (root / part).mkdir()
    for index in range(12):
        image, mask = camouflage_scene(0, index, 40)
        cv2.imwrite(str(root / "images" / f"{index}.jpg"), image)
        cv2.imwrite(str(root / "masks" / f"{index}.png"), mask * np.uint8(255))
    return root


@pytest.fixture
def _leave_process_group():
    """A config with a strategy makes a process group of this process alone."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_leave_process_group")
@pytest.mark.parametrize("name", CONFIGS)
def test_config(name, tmp_path, pair_folder):
    def cfg(**changes):
        loaded = shrink(load_config(ROOT / name), tmp_path, pair_folder)
        loaded.merge_from_dict(changes)
        return loaded

    runner = build_runner(cfg())
    model = runner.train()
    trained = {key: value.clone() for key, value in model.state_dict().items()}
    optimised = {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.parameters() if p.requires_grad}
    checkpoint = (tmp_path / "last_checkpoint").read_text()

    # Interrupted after one iteration and resumed, the run goes on to the same end.
    resumed = (
        cfg(resume=True, load_from=str(tmp_path / "iter_1.pth")) if "max_iters" in cfg().train_cfg else cfg(resume=True)
    )
    runner = build_runner(resumed)
    model = runner.train()
    assert runner.iter == 2 or runner.epoch == 1
    assert set(model.state_dict()) == set(trained)

    test_cfg = cfg(load_from=checkpoint)
    for section in TRAIN_SECTIONS:
        test_cfg.pop(section, None)
    metrics = build_runner(test_cfg).test()
    assert metrics
    assert all(np.isfinite(value) for value in metrics.values())
    assert torch.load(checkpoint, weights_only=False)["state_dict"].keys() == trained.keys()
