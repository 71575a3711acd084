"""Ctrl-C in the first seconds of a command."""

import os
import random
import re
import signal
import subprocess
import sys

import pytest

from samplug.commands.run import run
from tests.conftest import ROOT

CONFIG = "configs/quickstart.py"
# Arguments with which a command goes beyond parsing.
ARGUMENTS = {
    "analyze_clicks.py": ["--baselines", CONFIG],
    "analyze_logs.py": ["."],
    "browse_dataset.py": [CONFIG],
    "check_data.py": [CONFIG],
    "download.py": ["sam_vit_b"],
    "estimate_memory.py": [CONFIG],
    "evaluate_masks.py": ["shadow", "--pred", "x", "--gt", "x"],
    "export_onnx.py": [CONFIG, "none", "--out", "x.onnx"],
    "export_weights.py": [CONFIG, "none", "--layout", "hf", "--out", "x"],
    "predict.py": [CONFIG, "none", "x", "--out-dir", "x"],
    "generate_masks.py": [CONFIG, "none", "x", "--out-dir", "x"],
    "prepare_data.py": ["to-masks", "x", "y"],
    "quickstart.py": ["--out-dir", "x"],
    "report_probe.py": ["x"],
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


# Presses Ctrl-C when the process has used so much processor time: the moment is the same on a slow and on a busy machine. As in a
# terminal, workers get the signal too.
PRESSING = """
import atexit, os, runpy, signal, sys

moment, times, script, *arguments = sys.argv[1:]
left = int(times)

def press(*_):
    global left
    left -= 1
    if not left:
        signal.setitimer(signal.ITIMER_PROF, 0)
    os.killpg(0, signal.SIGINT)

signal.signal(signal.SIGPROF, press)
signal.setitimer(signal.ITIMER_PROF, float(moment), 0.02)
atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)
sys.argv = [script, *arguments]
sys.path[0] = os.path.dirname(script)
runpy.run_path(script, run_name="__main__")
"""
_DRAW = random.Random(0)
# From the first imports to the first iterations, on machines of any speed; the second press comes while the first one is handled.
MOMENTS = [(round(_DRAW.uniform(0.4 * part, 0.4 * (part + 1)), 3) + 0.01, 1 + part % 2) for part in range(9)]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of processor time")
@pytest.mark.parametrize(("moment", "times"), MOMENTS)
def test_one_word_at_every_moment(moment, times, tmp_path):
    pressing = tmp_path / "pressing.py"
    pressing.write_text(PRESSING)
    options = ["max_iters=1000000", "train_length=8", "data_size=32", "img_size=32", "num_workers=2"]
    command = [sys.executable, pressing, str(moment), str(times), ROOT / "tools/train.py", ROOT / CONFIG]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*map(str, command), "--work-dir", str(tmp_path / "work"), "--cfg-options", *options],
        cwd=tmp_path, env=environment, capture_output=True, text=True, start_new_session=True, timeout=120,
    )  # fmt: skip
    # Once the training has begun, the line says where it is.
    assert done.returncode == 130
    assert re.fullmatch(r"interrupted(: at .* has no checkpoint yet)?\n", done.stderr), done.stderr


PROGRAM = """
import os, signal, sys
sys.argv[0] = sys.argv[1]
import samplug
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
from samplug.commands.run import run
run(lambda: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize(
    ("script", "own"),
    [
        ("mine.py", "True False True"),
        (str(ROOT / "tools/train.py"), "False False False"),
        ("bin/samplug", "False False False"),
    ],
)
def test_other_programs_keep_their_handling(script, own):
    done = subprocess.run([sys.executable, "-c", PROGRAM, script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == own.split(), done.stderr


def test_an_error_made_of_the_interruption_is_one(capfd):
    """MMEngine converts any exception while formatting a config into a SyntaxError."""

    def convert():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                pass
        except BaseException:
            raise SyntaxError("the config cannot be formatted") from None

    assert run(convert) == 130
    assert capfd.readouterr().err == "interrupted\n"
