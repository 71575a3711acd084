"""Shared fixtures."""

import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

ROOT = Path(__file__).parents[1]


# Nothing in samplug may need compiled operators or torchvision's family, also where a machine has them.
for _name in ("mmcv._ext", "torchvision", "timm"):
    sys.modules[_name] = None  # type: ignore[assignment]
torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("samplug")
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Tests neither read nor write the user's cache."""
    os.environ["SAMPLUG_CACHE"] = str(tmp_path_factory.mktemp("samplug_cache"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real images and reference tensors."""
    folder = os.environ.get("SAMPLUG_TEST_DATA")
    if not folder:
        pytest.skip("SAMPLUG_TEST_DATA is not set: no real images and reference tensors here")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def parity(test_data):
    """Loader of reference tensors made by the original implementations."""
    return lambda name: torch.load(test_data / "parity" / name, weights_only=True)
