"""End commands cleanly on Ctrl-C, from the first import on.

An interrupted import leaves modules half initialised, and packages turn the KeyboardInterrupt into other errors. A
command that is importing has not written anything yet, so it exits at once.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

EXIT_CODE = 130
_IMPORTLIB = "<frozen importlib._bootstrap"


class Interruption:
    """Handler of SIGINT: raise KeyboardInterrupt at the first signal; exit at once during imports and at later signals.

    Attributes:
        requested: True after Ctrl-C; a later exception may be a converted KeyboardInterrupt.
        at_once: True if the next Ctrl-C ends the process, since no code would handle a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = self.at_once = self._said = False
        self._process = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # forked workers receive Ctrl-C too; their parent ends them
        if self.requested or self.at_once or _importing(frame):
            self._end()
        self.requested = True
        raise KeyboardInterrupt

    def say(self, where: str = "") -> None:
        """Print a message once; ``where`` describes where the work can continue."""
        if not self._said:
            self._said = True
            with contextlib.suppress(OSError):
                os.write(2, f"{rank_prefix()}interrupted{where and f': {where}'}\n".encode(errors="backslashreplace"))

    def _end(self) -> NoReturn:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        self.say()
        if "multiprocessing" in sys.modules:
            with contextlib.suppress(Exception):
                for child in sys.modules["multiprocessing"].active_children():
                    child.kill()
        os._exit(EXIT_CODE)


def install() -> Interruption:
    """Replace Python's own handler of Ctrl-C, if it is in force; return the new handler."""
    current: Any = signal.getsignal(signal.SIGINT)
    if isinstance(current, Interruption):
        return current
    handler = Interruption()
    if current is signal.default_int_handler:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, handler)
    return handler


@contextlib.contextmanager
def handling() -> Iterator[Interruption]:
    """Handle Ctrl-C in the block. Later, commands exit at once on Ctrl-C; other programs get their handler back."""
    before: Any = signal.getsignal(signal.SIGINT)
    handler = install()
    try:
        yield handler
    finally:
        if before is handler:
            handler.at_once = True
        elif signal.getsignal(signal.SIGINT) is handler:
            signal.signal(signal.SIGINT, before)


def install_in_commands() -> None:
    """Handle Ctrl-C in processes of ``samplug``, ``python -m samplug`` and the scripts in ``tools``.

    A program that imports samplug keeps its own handling.
    """
    if not sys.argv:
        return
    path, package = os.path.abspath(sys.argv[0]), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = (os.path.join(os.path.dirname(package), "tools"), os.path.join(package, ".mim", "tools"))
    if sys.argv[0] == "-m":
        ours = sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "samplug"
    else:
        ours = os.path.splitext(os.path.basename(path))[0] == "samplug" or os.path.dirname(path) in folders
    if ours:
        install()


def rank_prefix() -> str:
    """Return the prefix of messages of one of several processes; empty for a single process."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return f"[rank {os.environ.get('RANK', '?')}] " if several else ""


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTLIB):
            return True
        frame = frame.f_back
    return False
