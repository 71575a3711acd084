"""Shared fixtures."""

import os
import subprocess
import sys
from pathlib import Path

# Two processes of pytest, and those that they start, share two cores: threads of their own would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from mmengine.registry import init_default_scope

from tests.speed import freeze_imports

ROOT = Path(__file__).parents[1]


# Nothing in samplug may need compiled operators or torchvision's family, also where a machine has them.
for _name in ("mmcv._ext", "torchvision", "timm"):
    sys.modules[_name] = None  # type: ignore[assignment]
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


# Files whose tests train or start processes, longest first. Files are handed to processes one after the other: a long one at the
# end would keep all others waiting. `make test-fast` leaves these files out.
_SLOW_FILES = (
    "test_distributed.py", "test_fsdp.py", "test_every_config.py", "test_published_sizes.py", "test_runner.py", "test_training.py",
    "test_interruption.py", "test_commands.py", "test_docs_commands.py", "test_plug_in.py", "test_published_sets.py",
    "test_prompted_inputs.py", "test_browse.py", "test_seeding.py", "test_docs.py", "test_several_sets.py", "test_projects.py",
    "test_predict.py", "test_record.py", "test_work_folder.py", "test_interrupted_start.py", "test_folders.py", "test_metrics.py",
    "test_export_onnx.py", "test_averaged_weights.py", "test_resume_check.py", "test_advice.py", "test_screen.py", "test_memory.py",
    "test_generate.py", "test_test_runs.py", "test_texture_runs.py", "test_probe_training.py", "test_feature_cache.py", "test_head_accuracy.py", "test_fuzz.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and run these files first."""
    for item in items:
        if item.path.name in _SLOW_FILES:
            item.add_marker(pytest.mark.slow)
    places = {name: place for place, name in enumerate(_SLOW_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="module", autouse=True)
def _frozen_imports():
    freeze_imports()


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


@pytest.fixture(scope="session")
def own_files():
    """The repository's files, as git knows them."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return listed.stdout.splitlines()


@pytest.fixture(scope="session")
def wheel(own_files, tmp_path_factory):
    """A wheel, built from these files alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in own_files:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
    ]
    build = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert build.returncode == 0, build.stdout[-2000:] + build.stderr[-2000:]
    (built,) = folder.glob("samplug-*.whl")
    return built
