"""Imports of OpenMMLab packages whose optional parts complain."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_optional_operators() -> Iterator[None]:
    """Silence what mmseg and mmdet say at import about mmcv's compiled operators, which samplug never uses."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
