"""Run a command: exit codes, messages instead of tracebacks, and an orderly end in one of several processes."""

import argparse
import atexit
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from samplug.commands import COMMANDS
from samplug.utils.errors import UserError
from samplug.utils.extensions import Extensions
from samplug.utils.interruption import EXIT_CODE, Interruption, handling, rank_prefix
from samplug.utils.printing import tolerate_output

# torchrun reports the first process that exits. A process that failed only because a peer died waits this long, so that
# the peer's error is reported.
_PATIENCE_S = 3.0


def main(name: str | None = None, arguments: Sequence[str] | None = None) -> int:
    """Run a command of :data:`samplug.commands.COMMANDS` as :func:`run` does.

    Args:
        name: The command; None: the first argument names it.
        arguments: Words of the command line; None: those of this process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if name is None:
        return run(lambda: _execute(COMMANDS, words, "samplug"))
    return run(lambda: _execute(COMMANDS.load(name), words, Path(sys.argv[0]).name))


def run(function: Callable[[], None]) -> int:
    """Run a command's function and return its exit code: 1 after an error, 130 after Ctrl-C, else 0.

    A :class:`UserError`, or an error of the system that names a file, is printed as one message;
    ``SAMPLUG_TRACEBACK=1`` shows the traceback too. Modules that take seconds to import should be imported inside
    ``function``, so that Ctrl-C ends it in order from the start.

    One of several processes begins its messages with its rank and tells the launcher its error. A process that stopped
    because another one did prints one line, since the first error is the one to see. Such a process ends here, after
    its exit handlers.
    """
    tolerate_output()
    sys.path.append(os.getcwd())  # custom_imports finds modules of the current folder, as with python -m
    with handling() as interruption:
        code = _run(function, interruption)
    if _in_group():
        _exit(code)
    return code


def _execute(command: Any, words: list[str], prog: str) -> None:
    """Parse the arguments of a command and run it.

    Args:
        command: See :mod:`samplug.commands`.
        words: Its command line.
        prog: Its name in messages.
    """
    if isinstance(command, Extensions):
        if not words or words[0] in ("-h", "--help"):
            print(_overview(command, prog))
            raise SystemExit(0 if words else 2)
        return _execute(command.load(words[0]), words[1:], f"{prog} {words[0]}")
    parser = argparse.ArgumentParser(prog=prog, description=(command.__doc__ or "").replace("%", "%%"))
    command.add_arguments(parser)
    args = parser.parse_args(words)
    try:
        command.execute(args)
    except argparse.ArgumentError as error:
        parser.error(str(error))


def _overview(commands: Extensions, prog: str) -> str:
    """List the names and summaries of commands."""
    names = list(commands)
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {commands.summary(name)}" for name in names]
    usage = f"usage: {prog} NAME ...\n\n{commands.__doc__}\n\n"
    return "\n".join([f"{usage}{commands.kind}s, each with --help:", *lines])


def _run(function: Callable[[], None], interruption: Interruption) -> int:
    try:
        function()
        _leave_group()
    except KeyboardInterrupt as stop:
        interruption.say(str(stop))
        return EXIT_CODE
    except Exception as error:
        if interruption.requested:  # code between here and there has made it an error of its own
            interruption.say()
            return EXIT_CODE
        rank = rank_prefix()
        echo = bool(rank) and _is_echo(error)
        if rank and not echo:
            _tell_launcher(error)
        if os.environ.get("SAMPLUG_TRACEBACK"):
            raise
        if isinstance(error, UserError):
            print(f"{rank}error: {error}", file=sys.stderr)
        elif isinstance(error, OSError) and error.filename is not None and error.strerror:
            print(f"{rank}error: {error.filename}: {error.strerror}", file=sys.stderr)
        elif echo:
            print(f"{rank}stopped: another process ended, its error is above", file=sys.stderr, flush=True)
            time.sleep(_PATIENCE_S)
        else:
            raise
        return 1
    return 0


def _in_group() -> bool:
    """Return True if this process is, or was, one of several that talk to each other."""
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
    """End without the interpreter's last steps, where threads left by a process group may abort the process."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell_launcher(error: Exception) -> None:
    """Record an error for torchrun's summary, the last thing that a user sees."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    get_error_handler().record_exception(error)


def _is_echo(error: Exception) -> bool:
    """Return True if a process failed only because it could not reach another one."""
    import torch.distributed as dist

    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(sign in text for sign in ("gloo/transport", "Connection closed by peer"))
    )
