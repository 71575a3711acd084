"""Imports of OpenMMLab packages whose optional parts complain."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet_optional_operators() -> Iterator[None]:
    """Silence what mmseg and mmdet say at import about mmcv's compiled operators and other optional packages, which samplug never uses."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
