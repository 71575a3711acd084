"""Measure the time from the start of a command to its first line of output.

Each command is started several times. The processor time at its first line is compared with the time of
``python -c "import torch"`` in the same run. Commands are stopped after their first line.

    python benchmarks/startup.py [--repeats 3]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

TINY = ["--cfg-options", "max_iters=1", "train_length=4", "test_length=2", "num_workers=0"]
COMMANDS = {
    'python -c "import torch"': ["-c", "import torch; print()"],
    "samplug --help": ["-m", "samplug", "--help"],
    "samplug train --help": ["-m", "samplug", "train", "--help"],
    "samplug prepare --help": ["-m", "samplug", "prepare", "--help"],
    "samplug trian": ["-m", "samplug", "trian"],
    "samplug train quickstat": ["-m", "samplug", "train", "quickstat"],
    "samplug train quickstart, a wrong option": ["-m", "samplug", "train", "quickstart", "--cfg-options", "img_siz=64"],
    "samplug check quickstart": ["-m", "samplug", "check", "quickstart", *TINY],
    "samplug train quickstart": ["-m", "samplug", "train", "quickstart", *TINY],
    "samplug train quickstart, first iteration": ["-m", "samplug", "train", "quickstart", *TINY],
    "samplug predict quickstat ...": ["-m", "samplug", "predict", "quickstat", "none", "x", "--out-dir", "y"],
    "samplug test quickstart untrained": ["-m", "samplug", "test", "quickstart", "untrained", *TINY],
}
UNTIL = {"samplug train quickstart, first iteration": "Saving checkpoint"}


def seconds(arguments: list[str], until: str, folder: Path) -> float:
    """Return the processor time of a Python process at the first line that contains ``until``."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    try:
        for line in process.stdout:
            if until in line:
                times = psutil.Process(process.pid).cpu_times()
                return times.user + times.system
        raise RuntimeError(f"{arguments} ended without a line that contains {until!r}")
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="number of starts; the fastest counts")
    repeats = parser.parse_args().repeats
    width = max(map(len, COMMANDS))
    print(f"{'command':{width}}  CPU s  ratio")
    base = 0.0
    for name, arguments in COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            best = min(seconds(arguments, UNTIL.get(name, ""), Path(folder)) for _ in range(repeats))
        base = base or best
        print(f"{name:{width}}  {best:5.2f}  {best / base:5.2f}", flush=True)


if __name__ == "__main__":
    main()
