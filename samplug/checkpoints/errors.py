"""Errors of weight files."""

from samplug.utils.errors import UserError


class WeightsError(UserError, RuntimeError):
    """A weight file is missing, unreadable, or does not fit the module; the message names file, reason and remedy."""


class UnsafeCheckpointError(WeightsError):
    """A weight file asks to run code; none of it was executed."""
