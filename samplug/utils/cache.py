"""Where samplug keeps files between runs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$SAMPLUG_CACHE``, or ``samplug`` in torch's hub folder."""
    if folder := os.environ.get("SAMPLUG_CACHE"):
        return Path(folder)
    import torch.hub

    return Path(torch.hub.get_dir()) / "samplug"
