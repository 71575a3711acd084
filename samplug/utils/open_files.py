"""Check and raise the number of files that a process may open."""

import errno
import os
from contextlib import suppress

from samplug.utils.errors import ConfigError, chain


def allow_open_files(needed: int, wanted: int, what: str, remedy: str) -> None:
    """Ensure that this process may open more files; raise its soft limit if needed.

    With too few files, workers wait for a connection for minutes or forever.

    Args:
        needed: Number of files that will be opened.
        wanted: Number of files that may be opened at most.
        what: Description of the user of the files, for the message.
        remedy: Setting that needs fewer files, such as ``'num_workers=0'``.

    Raises:
        ConfigError: The system does not allow ``needed`` more files.
    """
    limit, highest = _limits()
    if limit is None or highest is None:
        return
    there = _open_now()
    if there + wanted > limit:
        limit = _raised(there + wanted, limit, highest)
    if there + needed > limit:
        raise ConfigError(
            f"{what} needs about {needed} open files beside the {there} that are open, and the limit is {limit}: raise "
            f"it (ulimit -n 4096), or set {remedy}"
        )


def too_many_open_files(error: BaseException) -> bool:
    """Return True if an error or its cause is that no more files could be opened."""
    signs = ("Too many open files", "received 0 items of ancdata")
    return any(
        (isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE))
        or any(sign in str(cause) for sign in signs)
        for cause in chain(error)
    )


def _limits() -> tuple[int | None, int | None]:
    """Return the soft and the hard limit of this process; None for no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None, None
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (None if value == resource.RLIM_INFINITY else value for value in limits)
    return soft, hard if hard is not None or soft is None else 2**20


def _raised(wanted: int, limit: int, highest: int) -> int:
    import resource

    new = min(wanted, highest)
    if new <= limit:
        return limit
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return new
    return limit


def _open_now() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return 32
