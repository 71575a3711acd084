"""Mutated files of strangers, read by the public functions: a result, or an error of samplug's own that names the file.

``SAMPLUG_FUZZ=SEED:FIRST:END`` runs other cases of each target than those of the suite, such as ``7:0:100000``.
"""

import os

import pytest

from tests.conftest import ROOT
from tests.fuzz.targets import TARGETS
from tests.processes import run_python

VARIABLE = "SAMPLUG_FUZZ"


def chosen(cases):
    """Seed, first case and end of cases."""
    return tuple(map(int, os.environ.get(VARIABLE, f"0:0:{cases}").split(":")))


def run(target, folder, seed, first, end):
    """Read mutated files in a process of its own; return the faults, and the case at which it died, if it did."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SAMPLUG_MAX_PIXELS": "2000000"}
    done = run_python(
        "-m", "tests.fuzz.run", target, seed, first, end, folder, cwd=ROOT, env=environment, timeout=300 + end - first
    )  # fmt: skip
    record, faults = folder / "case", folder / "faults"
    found = faults.read_text() if faults.exists() else ""
    if done.returncode == 0:
        return found
    case = f"case {int(record.read_bytes())}" if record.exists() else "the sound files"
    return f"{found}the process ended with {done.returncode} at {case}: {done.stderr[-3000:]}"


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is measured as Linux shows it")
@pytest.mark.parametrize("target", TARGETS)
def test_every_outcome_is_a_result_or_an_error_that_names_the_file(tmp_path, target):
    seed, first, end = chosen(TARGETS[target][1])
    faults = run(target, tmp_path, seed, first, end)
    assert not faults, (
        f"{target}, seed {seed}:\n{faults}\nrepeat case N with {VARIABLE}={seed}:N:N+1 pytest tests/test_fuzz.py -k {target}"
    )
