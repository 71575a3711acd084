#!/usr/bin/env python
"""Time automatic masks: samplug's MaskGenerator against a plain loop over the same model, as in the published code.

python benchmarks/generation.py [--arch hiera_t] [--img-size 1024] [--image 1024] [--points 32 64] [--pass 0.3]

The plain loop predicts all masks of a batch, resizes them to the image, filters them, and copies the run lengths of
each batch to the host. Weights are random, and such weights answer with speckle. So that there are as many masks to
keep as with trained weights, a mask is made a blob around its click whose outline follows the averaged logits.
Thresholds are chosen so that a given share of the masks passes the predicted IoU, and half of these the stability
score. Both must find the same masks, at least 100. On a CPU, the time is that of its cores.

python benchmarks/generation.py --image 8000x6000 --memory

prints the peak memory of one image in place of times.
"""

import argparse
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch import Tensor

from samplug.datasets.synthetic import camouflage_scene
from samplug.generation import MaskGenerator, generator, point_answers
from samplug.generation.binary import inclusive_boxes, run_lengths, stability, suppress
from samplug.generation.grids import point_grid
from samplug.generation.stability_bound import stability_bound
from samplug.models import Prompts
from samplug.models.decoders import Masks
from samplug.registry import MODELS
from samplug.utils.rle import from_runs

_BATCH = 64
_FEWEST = 100  # masks for a comparison
_RADII = 1 / 32, 1 / 20, 1 / 12, 1 / 8  # of the blobs of each mask of a click, in sides of the image
_REGION = 8  # cells that logits are averaged over
_STAGES = "encoder", "decoder", "filters", "NMS", "run lengths"
Stages = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="hiera_t", help="a size of SAMViT (vit_...) or SAM2Hiera (hiera_...)")
    parser.add_argument("--img-size", type=int, default=1024, help="side of the model's input")
    parser.add_argument("--image", default="1024", help="side of the image, or WIDTHxHEIGHT")
    parser.add_argument("--points", type=int, nargs="+", default=[32, 64], help="points a side")
    parser.add_argument(
        "--pass", dest="share", type=float, default=0.3, help="share of masks that pass the predicted IoU"
    )
    parser.add_argument("--single", action="store_true", help="one mask for each point instead of three, as TextureSAM")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    parser.add_argument("--memory", action="store_true", help="print the peak memory of one image in place of times")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope("samplug")
    logging.disable()  # the initialisation of each weight
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _model(args.arch, args.img_size).to(device)
    image = _image(args.image)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{args.arch} at {args.img_size} pixels, image {image.shape[1]}x{image.shape[0]}, "
        f"{1 if args.single else 3} masks for each point, {args.share:.0%} pass the predicted IoU; {where}\n"
    )
    with torch.inference_mode():
        if args.memory:
            for points in args.points:
                _print_memory(model, image, _generator(model, image, points, args))
            return
        lines = ("-" * (len(name) + 1) + ":" for name in _STAGES)
        print(f"| points | {'ms / image':15s} | masks | {' | '.join(_STAGES)} |   total | ratio |")
        print(f"|--------|{'-' * 17}|------:|{'|'.join(lines)}|--------:|------:|")
        for points in args.points:
            _compare(model, image, _generator(model, image, points, args), args.runs)


def _compare(model: Any, image: np.ndarray, own: MaskGenerator, runs: int) -> None:
    """Check that all ways find the same masks, and print their times."""
    expected, plain = _timed(lambda clock: _plain(model, image, own, clock), runs)
    if len(expected) < _FEWEST:
        raise SystemExit(
            f"no comparison: {len(expected)} masks, at least {_FEWEST} are needed: more --points or --pass"
        )
    rows = {"plain loop": plain}
    for name, bound in (("no early filter", False), ("MaskGenerator", True)):
        found, rows[name] = _timed(lambda clock: _generate(model, image, own, clock, bound), runs)  # noqa: B023
        if found != expected:
            raise SystemExit(f"{name}: the {len(found)} masks differ from the {len(expected)} of the plain loop")
    for name, times in rows.items():
        stages = " | ".join(f"{times[stage] * 1e3:{len(stage)}.0f}" for stage in _STAGES)
        total, side = sum(times.values()), own.settings.points_per_side
        print(
            f"| {side:2d}x{side:2d}  | {name:15s} | {len(expected):5d} | {stages} | {total * 1e3:7.0f} | "
            f"{sum(plain.values()) / total:5.2f} |",
            flush=True,
        )


def _print_memory(model: Any, image: np.ndarray, own: MaskGenerator) -> None:
    _reset_peak()
    before = _peak()
    found = own.generate(model, image)
    side = own.settings.points_per_side
    print(
        f"{side}x{side} points, {len(found)} masks, max_memory_mb={own.settings.max_memory_mb:g}: "
        f"{_peak() - before:.0f} MiB more than before"
    )


class _Clock:
    """Seconds of each stage; on a CPU those of its cores, which do not depend on what else runs."""

    def __init__(self) -> None:
        self.seconds: Stages = defaultdict(float)
        self._now = time.perf_counter if torch.cuda.is_available() else time.process_time

    @contextmanager
    def __call__(self, stage: str, within: str | None = None) -> Iterator[None]:
        """Add the time of a block to a stage, and take it off the stage that it lies within."""
        start = self._wait()
        try:
            yield
        finally:
            spent = self._wait() - start
            self.seconds[stage] += spent
            if within:
                self.seconds[within] -= spent

    def _wait(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._now()


def _timed(function: Callable[[_Clock], list[str]], runs: int) -> tuple[list[str], Stages]:
    """Return the result, and the median of each stage."""
    clocks = [_Clock() for _ in range(runs)]
    results = [function(clock) for clock in clocks]
    return results[-1], {stage: statistics.median(clock.seconds[stage] for clock in clocks) for stage in _STAGES}


def _generate(model: Any, image: np.ndarray, own: MaskGenerator, clock: _Clock, bound: bool) -> list[str]:
    """Generate masks; return their run lengths. The time outside of the other stages is that of the filters."""

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with clock(stage, "filters"):
                return function(*args, **kwargs)

        return call

    def answers(*args: Any, **kwargs: Any) -> Iterator[Any]:
        advance = timed("decoder", partial(next, point_answers(*args, **kwargs), None))
        yield from iter(advance, None)

    with ExitStack() as patches:
        for place, name, function in (
            (model, "embed", timed("encoder", model.embed)),
            (generator, "point_answers", answers),
            (generator, "suppress", timed("NMS", suppress)),
            (generator._Store, "masks", timed("run lengths", generator._Store.masks)),
            (generator, "stability_bound", stability_bound if bound else _no_bound),
        ):
            patches.enter_context(mock.patch.object(place, name, function))
        with clock("filters"):
            return [mask["counts"] for mask in own.generate(model, image).masks]


def _no_bound(logits: Tensor, *_: Any) -> Tensor:
    return logits.new_full((len(logits),), torch.inf)


def _plain(model: Any, image: np.ndarray, own: MaskGenerator, clock: _Clock) -> list[str]:
    """Generate masks batch by batch at the image's size; return their run lengths."""
    settings = own.settings
    with clock("encoder"):
        embedding = model.embed(image)
    height, width = image.shape[:2]
    boxes: list[Tensor] = []
    scores: list[Tensor] = []
    runs: list[list[int]] = []
    points = (point_grid(settings.points_per_side) * torch.tensor([width, height])).float()
    for batch in points.split(settings.points_per_batch):
        with clock("decoder"):
            clicks = embedding.geometry.to_input(batch.to(embedding.features[-1].device))[:, None]
            labels = torch.ones(clicks.shape[:2], dtype=torch.long, device=clicks.device)
            prompts = Prompts(points=clicks, labels=labels)
            masks = model.decode(embedding.features, prompts, settings.multimask_output, dynamic=False)
        with clock("filters"):
            logits, iou = embedding.geometry.restore(masks.logits.float()).flatten(0, 1), masks.iou.flatten()
            kept = iou > settings.pred_iou_thresh
            logits, iou = logits[kept], iou[kept]
            stable = stability(logits, settings.mask_threshold, settings.stability_score_offset)
            good = stable >= settings.stability_score_thresh
            binary = logits[good] > settings.mask_threshold
            boxes.append(inclusive_boxes(binary))
            scores.append(iou[good])
        with clock("run lengths"):
            runs += run_lengths(binary)
    with clock("NMS"):
        stays = suppress(torch.cat(boxes), torch.cat(scores), settings.box_nms_thresh).tolist()
    with clock("run lengths"):
        return [from_runs(runs[index], (height, width))["counts"] for index in stays]


def _image(size: str) -> np.ndarray:
    """Make an image of a side, or of WIDTHxHEIGHT."""
    width, _, height = size.partition("x")
    sides = int(width), int(height or width)
    return cv2.resize(camouflage_scene(0, 0, min(1024, *sides))[0], sides)


def _model(arch: str, img_size: int) -> Any:
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
    _answer_with_blobs(model.decode_head, img_size)
    return model.eval()


def _answer_with_blobs(decoder: Any, img_size: int) -> None:
    """Make the masks of a decoder blobs around the clicks, whose positions travel as one more token of each click."""
    embed, encode, read = decoder.embed_prompts, decoder.encode_tokens, decoder._read
    clicks: list[Tensor] = []

    def embed_prompts(size: int, grid: int, points: Tensor, *args: Any, **kwargs: Any) -> Any:
        clicks[:] = [points[:, :, 0] / size]
        return embed(size, grid, points, *args, **kwargs)

    def encode_tokens(*args: Any) -> tuple[Tensor, Tensor]:
        tokens, image = encode(*args)
        return torch.cat([tokens, F.pad(clicks[0], (0, tokens.shape[-1] - 2))[:, :, None]], dim=2), image

    def read_masks(tokens: Tensor, *args: Any) -> Masks:
        masks = read(tokens, *args)
        return masks._replace(logits=_blobs(masks.logits, tokens[:, :, -1, :2]))

    decoder.embed_prompts, decoder.encode_tokens, decoder._read = embed_prompts, encode_tokens, read_masks


def _blobs(logits: Tensor, clicks: Tensor) -> Tensor:
    """Turn logits (N, P, M, h, w) into blobs around clicks (N, P, 2), (x, y) in 0..1, of another size for each mask."""
    side = logits.shape[-1]
    coarse = F.avg_pool2d(logits.flatten(0, 2)[:, None], _REGION)
    smooth = F.interpolate(coarse, logits.shape[-2:], mode="bilinear").reshape(logits.shape)
    outline = (smooth - smooth.mean((-2, -1), keepdim=True)) / smooth.std((-2, -1), keepdim=True).clamp(min=1e-6)
    centres = (torch.arange(side, device=logits.device) + 0.5) / side
    x, y = clicks[..., 0, None] - centres, clicks[..., 1, None] - centres
    squares = (x.square()[..., None, :] + y.square()[..., None])[:, :, None]
    radii = squares.new_tensor(_RADII)[: logits.shape[2], None, None]
    # A power of two as the step: what rounding errors of the network change is lost, and equal masks stay equal.
    return ((4 - 4 * squares / radii.square()).clamp(min=-16) + outline).mul(16).round().div(16)


def _generator(model: Any, image: np.ndarray, points: int, args: argparse.Namespace) -> MaskGenerator:
    """Return a generator with thresholds that the given shares of masks pass."""
    embedding = model.embed(image)
    clicks = point_grid(min(points, 16)) * torch.tensor(image.shape[1::-1])
    answers = list(point_answers(model, embedding, clicks, _BATCH, not args.single))
    logits, iou = (torch.cat([getattr(part, name) for part in answers]) for name in ("logits", "iou"))
    threshold = float(iou.flatten().quantile(1 - args.share))
    passing = logits.flatten(0, 1)[iou.flatten() > threshold][:_BATCH]
    stable = stability(passing, 0.0, 1.0)
    return MaskGenerator(
        points_per_side=points,
        pred_iou_thresh=max(threshold, 1e-6),
        stability_score_thresh=float(stable.nanmedian()),
        multimask_output=not args.single,
        dynamic_multimask=False,
    )


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Return the peak memory in MiB since the last reset, of the GPU or else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10


if __name__ == "__main__":
    main()
