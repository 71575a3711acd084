"""Ctrl-C while a command imports."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
# Two need no torch to read their arguments.
FIRST_IMPORT = {"prepare_data.py": "cv2", "evaluate_masks.py": "cv2"}


@pytest.mark.parametrize("tool", TOOLS)
def test_no_traceback_is_left(tool, tmp_path):
    """The interruption comes from the first import of a large package."""
    (tmp_path / f"{FIRST_IMPORT.get(tool, 'torch')}.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    configs = "configs/quickstart.py"
    done = subprocess.run(
        [sys.executable, f"tools/{tool}", configs, "x"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
