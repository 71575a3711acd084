"""Errors that a user can act on; commands print them without a traceback."""

import atexit
import difflib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NoReturn

# A launcher looks for ended processes several times a second: of one that only could not reach another it must not hear first.
_PATIENCE_S = 3.0


class UserError(Exception):
    """Something outside the code is wrong, a file or a setting; the message names it and says what to do."""


class ConfigError(UserError, ValueError):
    """A setting is unknown, of another type, or does not fit the others."""


def check_choice(owner: str, name: str, value: object, choices: Sequence[object]) -> None:
    """Raise a ConfigError that names the owner and the choices, if a setting is none of them."""
    if value not in choices:
        raise ConfigError(f"{owner}: {name}={value!r} is unknown: use one of {', '.join(map(str, choices))}")


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``; did you mean a or b?``, the up to three nearest of what is known, or nothing if none is near."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from or during the handling of, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
