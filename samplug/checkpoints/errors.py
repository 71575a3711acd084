"""Errors of weight files."""

from samplug.utils.errors import UserError


class WeightsError(UserError, RuntimeError):
    """A weight file is missing, unreadable, or does not fit the module; the message says which, how, and what to do."""


class UnsafeCheckpointError(WeightsError):
    """A weight file that would run code; nothing of it was executed."""
