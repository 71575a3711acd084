"""Python modules run as the ranks of one group, as a launcher would start them."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from samplug.commands.run import run
from tests.conftest import ROOT
from tests.processes import PythonProcess


def free_port() -> int:
    """Below those that systems give to outgoing connections, which could take it before it is used."""
    while True:
        port = random.SystemRandom().randrange(15_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def start(command: list[object], **environment: object) -> subprocess.Popen[str] | PythonProcess:
    """One process, its errors in its output."""
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHON": sys.executable,
        **{k: str(v) for k, v in environment.items()},
    }
    if command[0] == sys.executable:
        return PythonProcess(command[1:], ROOT, env, merge=True)
    return subprocess.Popen(
        [*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )


def outputs(processes: Sequence[subprocess.Popen[str] | PythonProcess]) -> list[str]:
    """What each printed, when all have ended well; none is left running if they do not."""
    printed = []
    try:
        for process in processes:
            printed.append(process.communicate(timeout=240)[0])
    finally:
        for process in processes:
            process.kill()
    failed = [
        f"rank {rank} ended with {process.returncode}:\n{printed[rank][-4000:]}"
        for rank, process in enumerate(processes)
        if process.returncode
    ]
    assert not failed, "\n".join(failed)
    return printed


def shell(script: str, *arguments: object, ok: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of ``tools/``, and check whether it succeeds."""
    run = subprocess.run(
        ["bash", f"tools/{script}", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "PORT": str(free_port()), **environment},
    )  # fmt: skip
    assert (run.returncode == 0) == ok, run.stdout[-2000:] + run.stderr[-4000:]
    return run


def run_ranks(module: str, *arguments: object, ranks: int = 2) -> list[str]:
    """Run ``module`` once for each rank; what each printed.

    A rank waits for others that died, its own error tells nothing: so all that failed are shown.
    """
    port = free_port()
    return outputs(
        [
            start(
                [sys.executable, "-m", module, *arguments],
                RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port, PYTHONPATH=ROOT,
            )
            for rank in range(ranks)
        ]
    )  # fmt: skip


def end(main: Callable[[], None]) -> NoReturn:
    """Run a rank's ``main`` as samplug's commands are run, which end without the teardown that a group's threads may abort."""

    def together() -> None:
        main()
        import torch.distributed as dist

        dist.barrier()  # none leaves while others still need it

    sys.exit(run(together))
