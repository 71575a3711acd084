"""Published scores of linear probes and nearest neighbours on the validation images of ImageNet-1k."""

from collections.abc import Mapping
from typing import NamedTuple

from samplug.evaluation.protocols import Scores

IMAGENET_VAL = "ImageNet-1k val"
"""Name of the test set in samplug's configs."""
IMAGES, CLASSES = 50_000, 1000


class _DINOv2(NamedTuple):
    """Row of DINOv2's table: top-1 of nearest neighbours, without their number, and of the linear evaluation."""

    knn: float
    linear: float


# Oquab et al., "DINOv2", and Darcet et al., "Vision Transformers Need Registers", 224 px. Best head by the test images.
_DINOV2 = {
    "vits14": _DINOv2(79.0, 81.1),
    "vits14_reg4": _DINOv2(79.1, 80.9),
    "vitb14": _DINOv2(82.1, 84.5),
    "vitb14_reg4": _DINOv2(82.0, 84.6),
    "vitl14": _DINOv2(83.5, 86.3),
    "vitl14_reg4": _DINOv2(83.8, 86.7),
    "vitg14": _DINOv2(83.5, 86.5),
    "vitg14_reg4": _DINOv2(83.7, 87.1),
}
# "There is no SAMantics": one linear layer, 10 epochs without augmentation; sizes are those of its scripts.
_SAMANTICS: Mapping[tuple[str, str], Scores] = {
    ("SAMViT", "vit_b"): {"top1": 11.06, "top5": 25.37},
    ("SAM2Hiera", "hiera_t"): {"top1": 23.16, "top5": 44.44},
    ("CLIPViT", "vit_b32"): {"top1": 73.92, "top5": 92.89},
    ("DINOv2ViT", "vits14"): {"top1": 77.43, "top5": 93.78},
}


def published_probes(encoder: str, arch: str) -> dict[str, Scores]:
    """Return source -> scores in percent: ``top1``, ``top5``, ``knn_top1`` (of an unknown number of neighbours).

    Args:
        encoder: Class of the encoder, such as ``'DINOv2ViT'``.
        arch: Its published size, such as ``'vits14_reg4'``.

    Returns:
        Empty for an encoder without published scores.
    """
    rows: dict[str, Scores] = {}
    if scores := _SAMANTICS.get((encoder, arch)):
        rows["SAMantics, published"] = dict(scores)
    if encoder == "DINOv2ViT" and (row := _DINOV2.get(arch)):
        rows["DINOv2, published"] = {"top1": row.linear, "knn_top1": row.knn}
    return rows
