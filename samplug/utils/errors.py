"""Errors that a user can act on; commands print them without a traceback."""

import gc
import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something outside the code is wrong, a file or a setting; the message names it and says what to do."""


class ConfigError(UserError, ValueError):
    """A setting is unknown, of another type, or does not fit the others."""


def run(main: Callable[[], None]) -> int:
    """Run a command; a :class:`UserError` ends it with its message and exit code 1, Ctrl-C with 130.

    In one of several processes messages begin with its rank, the launcher is told what happened, and of a process that stopped because
    another one did there is one line: the first error is the one to see. ``SAMPLUG_TRACEBACK=1`` shows where errors came from.
    """
    sys.path.append(os.getcwd())  # custom_imports finds the project that one stands in, as with python -m
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
        elif echo:
            print(f"{rank}stopped: another process ended, its error is above", file=sys.stderr)
        else:
            raise
        return 1
    return 0


def _leave_group() -> None:
    """End the threads of the process group: left to the interpreter's end they abort it, now and then.

    A wrapped model holds the group, and runners, hooks and models refer to each other: only the collection of cycles frees them.
    """
    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
            gc.collect()


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
