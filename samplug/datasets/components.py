"""Import all registered datasets, at the first look-up of a name in ``DATASETS``.

A new dataset needs its module in the list below.
"""

from samplug.datasets import binary_seg, bsds, camouflage, sa1b, texture_scenes, texture_seg, video_folder  # noqa: F401
