"""Import OpenMMLab packages without their warnings about optional parts."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet_optional_operators() -> Iterator[None]:
    """Silence import warnings of mmseg and mmdet about mmcv's operators and other packages that samplug never uses."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
        _forget_levels()


def _forget_levels() -> None:
    """Clear what MMEngine's loggers remember of the time without warnings; ``logging`` does not know these loggers."""
    from mmengine.logging import MMLogger

    for logger in MMLogger._instance_dict.values():
        logger._cache.clear()
