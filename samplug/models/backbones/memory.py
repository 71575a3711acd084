"""Settings of encoders that lower the memory of training."""

from typing import Any

from samplug.utils.text import gib


def encoder_advice(encoder: Any, activations: int) -> list[str]:
    """Memory advice of an encoder that is ``model.backbone``: activation checkpointing and a smaller input.

    Args:
        encoder: Has ``with_cp``, ``depth`` and ``img_size``.
        activations: Bytes of the activations in use.
    """
    lines = []
    if not encoder.with_cp:
        lines.append(
            f"model.backbone.with_cp=True: the encoder keeps the inputs of its {encoder.depth} blocks and computes the "
            "rest again in the "
            f"backward pass (about a third more time)"
        )
    size = encoder.img_size
    if size % 32 == 0 and size > 256:
        lines.append(f"img_size={size // 2}: about {gib(activations * 3 / 4)} less, scores change")
    return lines
