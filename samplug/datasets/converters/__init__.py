"""Annotation formats of other tools, turned into image and mask folders and back."""

from samplug.datasets.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.datasets.converters.checking import Selection
from samplug.datasets.converters.from_masks import EXPORTS, LabelledImage, export
from samplug.datasets.converters.reading import FORMATS, read_annotations
from samplug.datasets.converters.to_masks import to_masks

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
    "read_annotations",
    "to_masks",
]
