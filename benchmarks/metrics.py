#!/usr/bin/env python
"""Compare the speed of the metrics on one core with PySODMetrics, and measure their cost in a test run.

python benchmarks/metrics.py [--size 1024] [--images 10] [--model-ms 100]
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import py_sod_metrics as sod
import torch
from numpy.typing import NDArray

from samplug.datasets.synthetic import camouflage_scene
from samplug.evaluation.functional import LevelCounts, dice_curve, iou_curve, overlap_scores, quantise
from samplug.evaluation.metrics import SaliencyMetric
from samplug.evaluation.protocols import Overlap, Saliency

Pair = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument(
        "--model-ms", type=float, default=100, help="time that the stand-in model spends away from the CPU"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pairs = [_pair(index, args.size) for index in range(args.images)]

    print(f"{args.images} images of {args.size}x{args.size}, one core, ms per image\n")
    print(f"| {'':36s} | PySODMetrics | samplug | ratio |\n|{'-' * 38}|-------------:|--------:|------:|")
    for name, theirs, ours in (
        ("saliency: S, E, F, wF, MAE", _pysod_saliency, lambda pred, gt: Saliency().score(pred, gt)),
        ("Dice and IoU, .5 and 256 thresholds", _pysod_overlap, _overlap),
        ("the same and BIoU", _pysod_overlap, lambda pred, gt: Overlap().score(pred, gt)),
    ):
        reference, own = _time(theirs, pairs), _time(ours, pairs)
        print(f"| {name:36s} | {reference:12.1f} | {own:7.2f} | {reference / own:5.1f} |")

    logging.disable()  # each metric prints its table
    print(f"\ntest run, a stand-in model that leaves the CPU alone for {args.model_ms:.0f} ms an image\n")
    without = _run(pairs, args.model_ms / 1e3, None)
    print(
        "| metrics           | images/s | of the speed without "
        "|\n|-------------------|---------:|---------------------:|"
    )
    print(f"| none              | {without:8.2f} |                100 % |")
    for name, workers in (("this process", 0), ("worker processes", "auto")):
        speed = _run(pairs, args.model_ms / 1e3, SaliencyMetric(workers=workers))
        print(f"| {name:17s} | {speed:8.2f} | {speed / without:18.0%}   |")


def _pair(index: int, size: int) -> Pair:
    """Make the ground truth of a scene and a soft, imperfect prediction of it."""
    mask = camouflage_scene(0, index, size)[1]
    noise = cv2.resize(np.random.default_rng(index).random((32, 32)), (size, size))
    soft = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), size / 64)
    return quantise((0.75 * soft + 0.25 * noise).clip(0, 1)), mask > 0


def _time(score: Callable[[Any, Any], Any], pairs: list[Pair]) -> float:
    """Measure milliseconds of processor time per image, best of three rounds."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for pred, gt in pairs:
            score(pred, gt)
        rounds.append((time.process_time() - start) / len(pairs) * 1e3)
    return min(rounds)


def _pysod_saliency(pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> None:
    for tool in (sod.MAE(), sod.Smeasure(), sod.Emeasure(), sod.Fmeasure(), sod.WeightedFmeasure()):
        tool.step(pred=pred, gt=gt.view(np.uint8) * np.uint8(255))


def _pysod_overlap(pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> None:
    options = dict(with_dynamic=True, with_adaptive=False, with_binary=True, sample_based=True)
    tool = sod.FmeasureV2(dict(dice=sod.DICEHandler(**options), iou=sod.IOUHandler(**options)))
    tool.step(pred=pred, gt=gt.view(np.uint8) * np.uint8(255))


def _overlap(pred: NDArray[np.uint8], gt: NDArray[np.bool_]) -> None:
    counts = LevelCounts.of(pred, gt)
    overlap_scores(counts), dice_curve(counts), iou_curve(counts)


def _run(pairs: list[Pair], model_s: float, metric: Any, repeat: int = 20) -> float:
    """Measure images per second of a test loop."""
    samples = []
    for index, (pred, gt) in enumerate(pairs):
        logits = torch.logit(torch.from_numpy(pred)[None] / 255, eps=1e-3)
        samples.append(
            dict(
                img_path=str(index),
                seg_logits=dict(data=logits),
                gt_sem_seg=dict(data=torch.from_numpy(gt)[None].long()),
            )
        )
    start = time.perf_counter()
    for round_ in range(repeat):
        for sample in samples:
            time.sleep(model_s)
            if metric:
                metric.process(None, [{**sample, "img_path": f"{round_}/{sample['img_path']}"}])
    if metric:
        metric.evaluate(repeat * len(samples))
    return repeat * len(samples) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
