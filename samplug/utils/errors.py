"""Errors that a user can act on, printed without a traceback."""

import os
import sys
from collections.abc import Callable


def run(main: Callable[[], None]) -> int:
    """Run a command; a problem with files, configs or weights ends it with its message and exit code 1.

    ``SAMPLUG_TRACEBACK=1`` shows where it came from.
    """
    try:
        main()
    except Exception as error:
        if os.environ.get("SAMPLUG_TRACEBACK") or not _is_for_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _is_for_users(error: Exception) -> bool:
    from samplug.checkpoints import WeightsError
    from samplug.datasets import DataError

    if isinstance(error, WeightsError | DataError | FileNotFoundError):
        return True
    return isinstance(error, ValueError) and str(error).startswith(("config:", "TSSAM", "SAMViT", "BinarySegDataset"))
