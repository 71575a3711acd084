"""Find the folder in which samplug keeps files between runs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return ``$SAMPLUG_CACHE``, or ``samplug`` in torch's hub folder."""
    if folder := os.environ.get("SAMPLUG_CACHE"):
        return Path(folder)
    import torch.hub

    return Path(torch.hub.get_dir()) / "samplug"
