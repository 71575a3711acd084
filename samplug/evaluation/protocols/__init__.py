"""Evaluation protocols: score one sample and sum up a set, in the same way for test runs and for folders of files."""

from samplug.evaluation.protocols.base import (
    PROTOCOLS,
    FileProtocol,
    Files,
    GroundTruths,
    ImageResult,
    Predictions,
    Protocol,
    Scores,
    list_samples,
    register_protocol,
    score_image,
)
from samplug.evaluation.protocols.classification import NearestNeighbours, TopK
from samplug.evaluation.protocols.clicks import Clicks
from samplug.evaluation.protocols.foreground import ForegroundProtocol, Labels, Overlap, Saliency, Shadow
from samplug.evaluation.protocols.texture import Texture

__all__ = [
    "PROTOCOLS",
    "Clicks",
    "FileProtocol",
    "Files",
    "ForegroundProtocol",
    "GroundTruths",
    "ImageResult",
    "Labels",
    "NearestNeighbours",
    "Overlap",
    "Predictions",
    "Protocol",
    "Saliency",
    "Scores",
    "Shadow",
    "Texture",
    "TopK",
    "list_samples",
    "register_protocol",
    "score_image",
]
