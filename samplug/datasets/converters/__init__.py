"""Annotation formats of other tools, turned into image and mask folders and back."""

from samplug.datasets.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.datasets.converters.checking import Selection
from samplug.datasets.converters.frames import extract_frames
from samplug.datasets.converters.from_masks import EXPORTS, LabelledImage, export
from samplug.datasets.converters.reading import FORMATS, read_annotations
from samplug.datasets.converters.to_masks import to_masks
from samplug.datasets.converters.to_sa1b import to_sa1b
from samplug.datasets.converters.to_videos import to_videos

__all__ = [
    "EXPORTS",
    "FORMATS",
    "AnnotatedImage",
    "Annotations",
    "LabelledImage",
    "Problem",
    "Region",
    "Selection",
    "export",
    "extract_frames",
    "read_annotations",
    "to_masks",
    "to_sa1b",
    "to_videos",
]
