"""No printed line ends a command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, sys
from pathlib import Path
from samplug.commands.run import run

def work():
    for number in range(5000):
        print("\\u753b caf\\udce9", number)
    sys.stdout.flush()
    Path("done").write_text("")
    print("\\u753b", file=sys.stderr)

code = run(work)
Path("code").write_text(str(code))
sys.exit(code)
"""


@pytest.mark.parametrize("case", ["cp1252", "utf-8", "closed pipe", "full disk", "closed"])
def test_a_command_outlives_its_output(tmp_path, case):
    """Encodings without the characters, names that are not UTF-8, ``| head``, a full disk, ``>&-``."""
    encoding = case if "-" in case or case.startswith("cp") else "cp1252"
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", CODE]
    if case == "closed pipe":
        command = ["sh", "-c", f'"{sys.executable}" -c "$CODE" | head -1; cat code']
        env["CODE"] = CODE
    elif case == "full disk":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        command = ["sh", "-c", f'"{sys.executable}" -c "$CODE" > /dev/full']
        env["CODE"] = CODE
    elif case == "closed":
        command = ["sh", "-c", f'"{sys.executable}" -c "$CODE" >&-']
        env["CODE"] = CODE
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=100)
    assert (tmp_path / "done").exists(), done.stderr
    assert (tmp_path / "code").read_text() == "0"
    assert done.returncode == 0, done.stderr
    assert b"Error" not in done.stderr
    if case in ("cp1252", "utf-8"):
        first = done.stdout.splitlines()[0].decode(case)
        assert first == {"cp1252": "\\u753b caf\\udce9 0", "utf-8": "\u753b caf\\udce9 0"}[case]
        assert len(done.stdout.splitlines()) == 5000
    assert done.stderr.strip() == ("\u753b" if case == "utf-8" else "\\u753b").encode(encoding)
