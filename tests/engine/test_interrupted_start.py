"""Ctrl-C while a command imports."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# The other two need no torch to read their arguments.
TOOLS = sorted(
    path.name for path in (ROOT / "tools").glob("*.py") if path.name not in ("prepare_data.py", "evaluate_masks.py")
)


@pytest.mark.parametrize("tool", TOOLS)
def test_no_traceback_is_left(tool, tmp_path):
    """The interruption comes from the first import of torch."""
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    configs = "configs/quickstart.py"
    done = subprocess.run(
        [sys.executable, f"tools/{tool}", configs, "x"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
