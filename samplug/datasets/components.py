"""Import all registered datasets, at the first look-up of a name in ``DATASETS``; a new dataset's module is one line here."""

from samplug.datasets import binary_seg, camouflage, sa1b, video_folder  # noqa: F401
