#!/usr/bin/env python
"""Time automatic masks: samplug's MaskGenerator against a plain loop over the same model, as in the published code.

python benchmarks/generation.py [--arch hiera_t] [--img-size 1024] [--image 1024] [--points 32] [--pass 0.3]
                                [--region 16]

The plain loop predicts all masks of a batch, resizes them to the image, filters them, and copies the run lengths of
each batch to the host. Weights are random; thresholds are chosen so that a given share of the masks passes the
predicted IoU, and half of these the stability score. Random weights answer with speckle, trained ones with regions, so
the logits are averaged over --region cells. Both must find the same masks. On a CPU, the time is that of its cores.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch import Tensor

from samplug.datasets.synthetic import camouflage_scene
from samplug.generation import MaskGenerator, point_answers
from samplug.generation.binary import inclusive_boxes, run_lengths, stability, suppress
from samplug.generation.grids import point_grid
from samplug.models import Prompts
from samplug.registry import MODELS
from samplug.utils.rle import from_runs

_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="hiera_t", help="a size of SAMViT (vit_...) or SAM2Hiera (hiera_...)")
    parser.add_argument("--img-size", type=int, default=1024, help="side of the model's input")
    parser.add_argument("--image", type=int, default=1024, help="side of the image")
    parser.add_argument("--points", type=int, default=32, help="points a side")
    parser.add_argument(
        "--pass", dest="share", type=float, default=0.3, help="share of masks that pass the predicted IoU"
    )
    parser.add_argument("--single", action="store_true", help="one mask for each point instead of three, as TextureSAM")
    parser.add_argument("--region", type=int, default=16, help="cells that logits are averaged over; 1: speckle")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope("samplug")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _model(args.arch, args.img_size, args.region).to(device)
    image = camouflage_scene(0, 0, args.image)[0]
    generator = _generator(model, image, args)
    with torch.inference_mode():
        expected, found = _plain(model, image, generator), generator.generate(model, image)
        if not expected or [mask["counts"] for mask in found.masks] != expected:
            raise SystemExit(f"the masks differ: {len(expected)} of the plain loop, {len(found)} of the generator")
        points = point_grid(args.points) * args.image
        settings = generator.settings
        embedding = model.embed(image)

        def decode() -> None:
            for _ in point_answers(
                model, embedding, points, _BATCH, settings.multimask_output, False, settings.pred_iou_thresh
            ):
                pass

        encoder = _seconds(lambda: model.embed(image), args.runs)
        decoder = _seconds(decode, args.runs)
        whole = _seconds(lambda: generator.generate(model, image), args.runs)
        plain = _seconds(lambda: _plain(model, image, generator), args.runs)
        with mock.patch("samplug.generation.generator.stability_bound", _no_bound):
            late = _seconds(lambda: generator.generate(model, image), args.runs)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{args.arch} at {args.img_size} pixels, image {args.image}x{args.image}, {args.points}x{args.points} points, "
        f"{1 if args.single else 3} masks each, {args.share:.0%} pass the predicted IoU, "
        f"regions of {args.region} cells, {len(expected)} masks; {where}\n"
    )
    rows = {
        "plain loop": plain, "MaskGenerator, no stability_bound": late, "MaskGenerator": whole,
        "  encoder": encoder, "  decoder": decoder,
        "  filters, suppression, run lengths": whole - encoder - decoder,
    }  # fmt: skip
    print(f"| {'':36s} | ms / image | ratio |\n|{'-' * 38}|-----------:|------:|")
    for name, seconds in rows.items():
        ratio = "" if name.startswith(" ") else f"{plain / seconds:.2f}"
        print(f"| {name:36s} | {seconds * 1e3:10.0f} | {ratio:>5s} |")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        generator.generate(model, image)
        print(f"\npeak memory of MaskGenerator: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def _model(arch: str, img_size: int, region: int) -> Any:
    torch.manual_seed(0)
    sam2 = arch.startswith("hiera")
    model = MODELS.build(
        dict(
            type="PromptableSAM",
            backbone=dict(type="SAM2Hiera" if sam2 else "SAMViT", arch=arch, img_size=img_size),
            decode_head=dict(type="SAM2MaskDecoder" if sam2 else "SAMMaskDecoder", prompts=True),
            geometry="squash" if sam2 else "letterbox",
        )
    )
    model.backbone.init_weights()
    with torch.no_grad():  # logits of a useful size
        for mlp in model.decode_head.mask_layers.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(20)
    if region > 1:
        read = model.decode_head._read

        def smoothed(*arguments: Any) -> Any:
            masks = read(*arguments)
            return masks._replace(logits=_regions(masks.logits, region))

        model.decode_head._read = smoothed
    return model.eval()


def _regions(logits: Tensor, cells: int) -> Tensor:
    """Average logits (1, P, M, h, w) over squares of cells, as if neighbours were independent, and interpolate."""
    flat = logits.flatten(0, 2)[:, None]
    coarse = F.avg_pool2d(flat, cells) * cells
    return F.interpolate(coarse, flat.shape[-2:], mode="bilinear").reshape(logits.shape)


def _no_bound(logits: Tensor, *_: Any) -> Tensor:
    return logits.new_full((len(logits),), torch.inf)


def _generator(model: Any, image: np.ndarray, args: argparse.Namespace) -> MaskGenerator:
    """Return a generator with thresholds that the given shares of masks pass."""
    with torch.inference_mode():
        embedding = model.embed(image)
        points = point_grid(min(args.points, 16)) * args.image
        answers = list(point_answers(model, embedding, points, _BATCH, not args.single))
        logits, iou = (torch.cat([getattr(part, name) for part in answers]) for name in ("logits", "iou"))
        threshold = float(iou.flatten().quantile(1 - args.share))
        passing = logits.flatten(0, 1)[iou.flatten() > threshold][:_BATCH]
        stable = stability(embedding.geometry.restore(passing[:, None])[:, 0], 0.0, 1.0)
    return MaskGenerator(
        points_per_side=args.points,
        pred_iou_thresh=max(threshold, 1e-6),
        stability_score_thresh=float(stable.nanmedian()),
        multimask_output=not args.single,
        dynamic_multimask=False,
    )


def _plain(model: Any, image: np.ndarray, generator: MaskGenerator) -> list[str]:
    """Generate masks batch by batch at the image's size; return their run lengths."""
    own = generator.settings
    embedding = model.embed(image)
    height, width = image.shape[:2]
    boxes: list[Tensor] = []
    scores: list[Tensor] = []
    runs: list[list[int]] = []
    points = (point_grid(own.points_per_side) * torch.tensor([width, height])).float()
    for batch in points.split(own.points_per_batch):
        clicks = embedding.geometry.to_input(batch.to(embedding.features[-1].device))[:, None]
        prompts = Prompts(points=clicks, labels=torch.ones(clicks.shape[:2], dtype=torch.long, device=clicks.device))
        masks = model.decode(embedding.features, prompts, own.multimask_output, dynamic=False)
        logits, iou = embedding.geometry.restore(masks.logits.float()).flatten(0, 1), masks.iou.flatten()
        kept = iou > own.pred_iou_thresh
        logits, iou = logits[kept], iou[kept]
        stable = stability(logits, own.mask_threshold, own.stability_score_offset) >= own.stability_score_thresh
        binary = logits[stable] > own.mask_threshold
        boxes.append(inclusive_boxes(binary))
        scores.append(iou[stable])
        runs += run_lengths(binary)
    stays = suppress(torch.cat(boxes), torch.cat(scores), own.box_nms_thresh)
    return [from_runs(runs[index], (height, width))["counts"] for index in stays.tolist()]


def _seconds(function: Callable[[], Any], runs: int) -> float:
    function()
    times = []
    # Time of the process does not depend on what else runs on a CPU.
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for _ in range(runs):
        start = clock()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
