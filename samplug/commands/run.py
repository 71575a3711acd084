"""Run a command: exit codes, messages instead of tracebacks, and an orderly end in one of several processes."""

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from samplug.utils.errors import UserError

# torchrun reports the first process that exits. A process that failed only because a peer died waits this long, so that the
# peer's error is reported.
_PATIENCE_S = 3.0


def run(main: Callable[[], None]) -> int:
    """Run a command; a :class:`UserError`, or the system's of a file, ends it with a message and exit code 1, Ctrl-C with 130.

    ``main`` imports what takes seconds itself, so that this holds from the first one.

    In one of several processes messages begin with its rank, the launcher is told what happened, and of a process that stopped because
    another one did there is one line: the first error is the one to see. ``SAMPLUG_TRACEBACK=1`` shows where errors came from. Such a
    process ends here, after its exit handlers.
    """
    sys.path.append(os.getcwd())  # custom_imports finds the project that one stands in, as with python -m
    code = _run(main)
    if _in_group():
        _exit(code)
    return code


def _run(main: Callable[[], None]) -> int:
    try:
        main()
        _leave_group()
    except KeyboardInterrupt:
        print(f"{_rank()}interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        rank = _rank()
        echo = bool(rank) and _is_echo(error)
        if rank and not echo:
            _tell_launcher(error)
        if os.environ.get("SAMPLUG_TRACEBACK"):
            raise
        if isinstance(error, UserError):
            print(f"{rank}error: {error}", file=sys.stderr)
        elif (
            isinstance(error, OSError) and error.filename is not None and error.strerror
        ):  # the system's, of a file: as good as a UserError
            print(f"{rank}error: {error.filename}: {error.strerror}", file=sys.stderr)
        elif echo:
            print(f"{rank}stopped: another process ended, its error is above", file=sys.stderr, flush=True)
            time.sleep(_PATIENCE_S)
        else:
            raise
        return 1
    return 0


def _in_group() -> bool:
    """Whether this process is, or was, one of several that talk to each other."""
    if "torch.distributed" not in sys.modules:
        return False
    import torch.distributed as dist

    return dist.is_available() and (dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) > 1)


def _leave_group() -> None:
    if _in_group():
        import torch.distributed as dist

        if dist.is_initialized():  # a command may be one of several and need no group
            dist.destroy_process_group()


def _exit(code: int) -> NoReturn:
    """End without the interpreter's last steps: threads of a process group that outlive it abort the process then, now and then."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _rank() -> str:
    """Which of several processes this is; empty if it is the only one."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return f"[rank {os.environ.get('RANK', '?')}] " if several else ""


def _tell_launcher(error: Exception) -> None:
    """For torchrun's summary, which is the last thing that a user sees."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)


def _is_echo(error: Exception) -> bool:
    """Whether a process fails only because it could not reach another one."""
    import torch.distributed as dist

    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(sign in text for sign in ("gloo/transport", "Connection closed by peer"))
    )
