"""Write log files and configs to a disk that may be full."""

import logging
import sys
from pathlib import Path
from typing import Any

from samplug.utils.files import WriteError, write_text

_NAMES: set[str] = set()


def unused_name(timestamp: str) -> str:
    """Return an unused name: runners of the same name in a process would share log and message hub."""
    name, number = timestamp, 1
    while name in _NAMES:
        name, number = f"{timestamp}_{number}", number + 1
    _NAMES.add(name)
    return name


def write_config(cfg: Any, path: str | Path) -> None:
    """Write a config whole or not at all; MMEngine's ``dump`` leaves a truncated file on a full disk.

    Raises:
        WriteError: The config cannot be written.
    """
    path = Path(path)
    if path.suffix == ".py":
        write_text(path, cfg.pretty_text)
    else:
        cfg.dump(path)


def tolerate_full_disks(logger: logging.Logger) -> None:
    """Warn once if a log file cannot be written; ``logging`` would print a traceback for each message.

    Bytes of names that are not UTF-8 are written as escapes.
    """
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            handler.stream.reconfigure(errors="backslashreplace")
            setattr(handler, "handleError", _Report(handler))  # noqa: B010  # a method of this handler alone


class _Report:
    """Print the current exception, but only the first time."""

    def __init__(self, handler: logging.FileHandler) -> None:
        self._path = handler.baseFilename
        self._reported = False

    def __call__(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not self._reported and isinstance(error, OSError):
            print(f"warning: {WriteError.of(self._path, error)}. The run goes on without it.", file=sys.stderr)
            self._reported = True
