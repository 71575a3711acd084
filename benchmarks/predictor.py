#!/usr/bin/env python
"""Time of a click on an encoded image, at the full size of SAM's decoder, against transformers' SamModel.

python benchmarks/predictor.py [--clicks 30] [--threads N]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import SamConfig, SamModel
from transformers.models.sam.configuration_sam import SamVisionConfig

from samplug.apis import Predictor
from samplug.registry import MODELS

SIZE, HEIGHT, WIDTH = 1024, 768, 1024
# The encoder runs before the click, so a small one suffices.
_WARM_UP = 5
SMALL = dict(embed_dims=32, depth=1, num_heads=2, global_attn_indexes=())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    model = MODELS.build(dict(type="PromptableSAM", backbone=dict(type="SAMViT", arch=SMALL, img_size=SIZE)))
    predictor = Predictor(model)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    vision = SamVisionConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, global_attn_indexes=[], mlp_dim=128
    )
    reference = SamModel(SamConfig(vision_config=vision.to_dict())).eval()
    (embedding,) = (feature.clone() for feature in predictor.features)

    @torch.inference_mode()
    def theirs(x: int, y: int) -> Any:
        answer = reference(
            image_embeddings=embedding,
            input_points=torch.tensor([[[[float(x), float(y)]]]]),
            input_labels=torch.ones(1, 1, 1, dtype=torch.long),
        )
        low_res = answer.pred_masks[0]
        masks = torch.nn.functional.interpolate(low_res, (SIZE, SIZE), mode="bilinear")[..., :HEIGHT, :WIDTH]
        return (torch.nn.functional.interpolate(masks, (HEIGHT, WIDTH), mode="bilinear") > 0).numpy()

    def ours(x: int, y: int) -> Any:
        return predictor.predict([[x, y]], [1])

    print(
        f"one click, three masks of {WIDTH}x{HEIGHT}, {torch.get_num_threads()} threads, medians of {args.clicks} "
        "clicks\n"
    )
    print("|                         |    ms | ratio |\n|-------------------------|------:|------:|")
    base, own = _medians((theirs, ours), args.clicks)
    print(f"| transformers' SamModel  | {base:5.1f} |  1.00 |")
    print(f"| samplug's Predictor     | {own:5.1f} | {base / own:5.2f} |")


def _medians(methods: Sequence[Callable[[int, int], Any]], number: int) -> list[float]:
    """Return the median milliseconds of methods that take turns."""
    draw = np.random.default_rng(0)
    times: list[list[float]] = [[] for _ in methods]
    for _ in range(number + _WARM_UP):
        x, y = int(draw.integers(WIDTH)), int(draw.integers(HEIGHT))
        for method, so_far in zip(methods, times, strict=True):
            start = time.perf_counter()
            method(x, y)
            so_far.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(of[_WARM_UP:]) for of in times]


if __name__ == "__main__":
    main()
