"""Convert annotation formats of other tools to datasets, and masks to annotation formats."""

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.converters.checking import Selection
from samplug.converters.from_masks import EXPORTS, LabelledImage, SegmentedImage, export_annotations
from samplug.converters.reading import FORMATS, read_annotations
from samplug.converters.to_masks import to_masks
from samplug.converters.to_sa1b import to_sa1b
from samplug.converters.to_unified import to_unified
from samplug.converters.to_videos import to_videos
from samplug.converters.video_frames import extract_frames
from samplug.utils.extensions import Extensions

# Commands, see samplug.commands. Another package adds a converter as an entry point of the group samplug.converters.
CONVERTERS = Extensions(
    "converter",
    "samplug.converters",
    {
        "to-masks": "samplug.converters.to_masks",
        "to-sa1b": "samplug.converters.to_sa1b",
        "to-videos": "samplug.converters.to_videos",
        "frames": "samplug.converters.video_frames",
        "ade20k": "samplug.converters.ade20k",
        "texture-augment": "samplug.converters.texture_augment",
    },
    "Turn data of other tools into folders that samplug reads.",
)

__all__ = [
    "CONVERTERS",
    "EXPORTS",
    "FORMATS",
    "AnnotatedImage",
    "Annotations",
    "LabelledImage",
    "Problem",
    "Region",
    "SegmentedImage",
    "Selection",
    "export_annotations",
    "extract_frames",
    "read_annotations",
    "to_masks",
    "to_sa1b",
    "to_unified",
    "to_videos",
]
