"""Annotation formats of other tools, turned into image and mask folders."""

from samplug.datasets.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.datasets.converters.checking import Selection
from samplug.datasets.converters.reading import FORMATS, read_annotations
from samplug.datasets.converters.to_masks import to_masks

__all__ = [
    "FORMATS",
    "AnnotatedImage",
    "Annotations",
    "Problem",
    "Region",
    "Selection",
    "read_annotations",
    "to_masks",
]
