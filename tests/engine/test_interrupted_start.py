"""Ctrl-C while a command imports."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CONFIG = "configs/quickstart.py"
# Arguments with which a command goes beyond parsing.
ARGUMENTS = {
    "analyze_clicks.py": ["--baselines", CONFIG],
    "analyze_logs.py": ["."],
    "browse_dataset.py": [CONFIG],
    "check_data.py": [CONFIG],
    "download.py": ["sam_vit_b"],
    "evaluate_masks.py": ["shadow", "--pred", "x", "--gt", "x"],
    "export_onnx.py": [CONFIG, "none", "--out", "x.onnx"],
    "export_weights.py": [CONFIG, "none", "--layout", "hf", "--out", "x"],
    "predict.py": [CONFIG, "none", "x", "--out-dir", "x"],
    "prepare_data.py": ["to-masks", "x", "y"],
    "quickstart.py": ["--out-dir", "x"],
    "test.py": [CONFIG, "none"],
    "train.py": [CONFIG],
}
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))


@pytest.mark.parametrize("tool", TOOLS)
def test_no_traceback_is_left(tool, tmp_path):
    """The interruption comes from the first import of a large package."""
    for package in ("torch", "cv2", "matplotlib"):
        (tmp_path / f"{package}.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, ROOT / f"tools/{tool}", *ARGUMENTS[tool]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
