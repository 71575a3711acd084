"""Log files and configs of a run on a disk that may be full."""

import logging
import sys
from pathlib import Path
from typing import Any

from samplug.utils.files import WriteError, write_text

_NAMES: set[str] = set()


def unused_name(timestamp: str) -> str:
    """Return a name that no other runner of this process has, since runners of one name share log and message hub."""
    name, number = timestamp, 1
    while name in _NAMES:
        name, number = f"{timestamp}_{number}", number + 1
    _NAMES.add(name)
    return name


def write_config(cfg: Any, path: str | Path) -> None:
    """Write a config, whole or not at all; MMEngine's ``dump`` leaves a part of it on a full disk.

    Raises:
        WriteError: It cannot be written.
    """
    path = Path(path)
    if path.suffix == ".py":
        write_text(path, cfg.pretty_text)
    else:
        cfg.dump(path)


def tolerate_full_disks(logger: logging.Logger) -> None:
    """Let a log file that cannot be written cost one line on the terminal; ``logging`` prints a traceback each time.

    The file also takes names with bytes that are not UTF-8, as escapes.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            handler.stream.reconfigure(errors="backslashreplace")
            setattr(handler, "handleError", _Report(handler))  # noqa: B010  # a method of this handler alone


class _Report:
    """Print the error that is being handled, the first time."""

    def __init__(self, handler: logging.FileHandler) -> None:
        self._path = handler.baseFilename
        self._reported = False

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not self._reported and isinstance(error, OSError):
            print(f"warning: {WriteError.of(self._path, error)}. The run goes on without it.", file=sys.stderr)
            self._reported = True
