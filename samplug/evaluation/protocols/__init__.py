"""How one image is scored and how a set is summed up, the same in test runs and for folders of files."""

from samplug.evaluation.protocols.foreground import (
    PROTOCOLS,
    ImageResult,
    Overlap,
    Protocol,
    Saliency,
    Scores,
    Shadow,
    score_image,
)

__all__ = ["PROTOCOLS", "ImageResult", "Overlap", "Protocol", "Saliency", "Scores", "Shadow", "score_image"]
