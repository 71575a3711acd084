"""Errors that a user can act on; commands print them without a traceback."""

import difflib
from collections.abc import Iterable, Iterator, Sequence


class UserError(Exception):
    """A file or a setting is wrong, not the code; the message names it and says what to do."""


class DataError(UserError, RuntimeError):
    """A file or folder cannot be used; the message names it, the reason, and what to do."""


class ConfigError(UserError, ValueError):
    """A setting is unknown, of another type, or does not fit the others."""


def check_choice(owner: str, name: str, value: object, choices: Sequence[object]) -> None:
    """Raise a ConfigError that names the owner and the choices if a setting is not one of them."""
    if value not in choices:
        raise ConfigError(f"{owner}: {name}={value!r} is unknown: use one of {', '.join(map(str, choices))}")


def check_threshold(owner: str, threshold: float) -> None:
    """Raise a ConfigError if a threshold of probabilities is not in [0, 1]."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"{owner}: threshold={threshold} is not a probability: use a number from 0 to 1")


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``; did you mean a or b?`` with up to three similar names, or an empty text if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the error that it was raised from or while handling, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
