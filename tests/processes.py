"""Start Python processes quickly: fork a server that has imported torch, MMEngine and samplug.

Importing them takes five seconds of processor time, most of the life of a process that trains a tiny model. A forked process differs
from a new interpreter only in that its modules are imported already, so tests of the start itself use ``subprocess``.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preload"])


class PythonProcess:
    """A running ``python SCRIPT ...`` or ``python -m MODULE ...``, with the part of ``subprocess.Popen`` that tests use.

    Args:
        arguments: Arguments of the interpreter.
        cwd: Working directory.
        env: Environment; None inherits it.
        merge: Write errors to the standard output.
    """

    def __init__(
        self, arguments: Sequence[object], cwd: Path, env: Mapping[str, str] | None = None, merge: bool = False
    ) -> None:
        self._outputs = [tempfile.TemporaryFile("w+") for _ in range(1 if merge else 2)]  # noqa: SIM115
        command, environment = list(map(str, arguments)), dict(os.environ if env is None else env)
        files = [self._outputs[0], self._outputs[-1]]
        self._process: subprocess.Popen[str] | _Forked
        if torch.cuda.is_available() or sys.platform != "linux":  # CUDA does not survive a fork
            popen = subprocess.Popen(
                [sys.executable, *command], cwd=cwd, env=environment, stdout=files[0], stderr=files[1]
            )
            self._process = popen
        else:
            self._process = _Forked(command, cwd, environment, files)

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end and return standard output and errors.

        Raises:
            subprocess.TimeoutExpired: The process runs longer; it is killed.
        """
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        texts = []
        for file in self._outputs:
            file.seek(0)
            texts.append(file.read())
        return texts[0], texts[1] if len(texts) > 1 else ""

    def kill(self) -> None:
        self._process.kill()


def run_python(
    *arguments: object, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` to its end, as ``subprocess.run`` does with ``capture_output``."""
    process = PythonProcess(arguments, cwd, env)
    stdout, stderr = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.returncode or 0, stdout, stderr)


class _Forked:
    def __init__(self, command: list[str], cwd: Path, env: dict[str, str], files: Sequence) -> None:
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in files]
        self._process = _CONTEXT.Process(target=_main, args=(command, str(cwd), env, paths))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None) -> None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", timeout or 0)

    def kill(self) -> None:
        if self._process.exitcode is None:
            self._process.kill()


def _main(command: list[str], cwd: str, env: dict[str, str], outputs: list[str]) -> None:
    """Become the process in the forked child."""
    for descriptor, path in zip((1, 2), outputs, strict=True):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if threads := env.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    first = cwd if command[0] == "-m" else str(Path(command[0]).resolve().parent)
    sys.path[:0] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        if command[0] == "-m":
            sys.argv = command[1:]
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
