"""Errors that a user can act on; commands print them without a traceback."""

import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something outside the code is wrong, a file or a setting; the message names it and says what to do."""


class ConfigError(UserError, ValueError):
    """A setting is unknown, of another type, or does not fit the others."""


def run(main: Callable[[], None]) -> int:
    """Run a command; a :class:`UserError` ends it with its message and exit code 1.

    ``SAMPLUG_TRACEBACK=1`` shows where it came from.
    """
    try:
        main()
    except UserError as error:
        if os.environ.get("SAMPLUG_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
