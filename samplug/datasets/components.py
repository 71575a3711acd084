"""Import all registered datasets, at the first look-up of a name in ``DATASETS``.

A new dataset needs its module in the list below.
"""

from samplug.datasets import (  # noqa: F401
    binary_seg,
    bsds,
    camouflage,
    image_folder,
    sa1b,
    texture_scenes,
    texture_seg,
    video_folder,
)
