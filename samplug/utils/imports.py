"""Import large packages quickly and without their warnings about optional parts."""

import gc
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_MANY = 100  # modules; smaller packages do not slow down garbage collection


@contextmanager
def quiet_optional_operators() -> Iterator[None]:
    """Silence import warnings of mmseg and mmdet about mmcv's operators and other packages that samplug never uses."""
    previous, silent = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(silent):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
        _end_silence(silent)


def _end_silence(silent: io.StringIO) -> None:
    """Reset MMEngine's loggers, which would otherwise keep the silenced level and output."""
    from mmengine.logging import MMLogger

    for logger in MMLogger._instance_dict.values():
        logger._cache.clear()
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is silent:
                handler.setStream(sys.stdout)


@contextmanager
def without_collection() -> Iterator[None]:
    """Disable garbage collection while the block imports large packages, which saves a quarter of the time.

    Objects that exist at the end are excluded from later collections. Blocks without new imports have no effect.
    """
    before, enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before + _MANY:
            gc.freeze()
        if enabled:
            gc.enable()
