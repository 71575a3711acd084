#!/usr/bin/env python
"""Time the scores of automatic masks: tools/evaluate_masks.py texture against a plain loop over masks and regions.

python benchmarks/texture_scores.py [--images 256] [--masks 60] [--size 256] [--plain 8]

The masks of generated scenes are written to a temporary folder, as tools/generate_masks.py writes them. The plain loop
does what the definitions say with NumPy arrays and scikit-learn's adjusted_rand_score; it scores --plain of the images,
and both must give the same numbers.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from samplug.datasets.synthetic.texture_scenes import texture_scene
from samplug.datasets.synthetic.textures import smooth_noise
from samplug.datasets.texturing import texture_source
from samplug.utils.rle import encode_rle

Masks = list[NDArray[np.bool_]]
_COMMAND = Path(__file__).parents[1] / "tools/evaluate_masks.py"
_NAMES = ("mIoU", "ARI", "mIoU_agg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--masks", type=int, default=60, help="masks of each image")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--plain", type=int, default=8, help="images that the plain loop scores")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for index in range(args.images):
            _write(root, index, args.masks, args.size)
        print(
            f"{args.images} images of {args.size}x{args.size}, {args.masks} masks each; seconds for all images, with "
            "the start of the command\n"
        )
        print("| mode       | files | processes  | seconds | CPU seconds | ratio of CPU seconds |")
        print("|------------|-------|------------|--------:|------------:|---------------------:|")
        for mode, score in (("strict", _strict), ("texturesam", _published)):
            start = time.process_time()
            expected = [score(*_read(root, index)) for index in range(args.plain)]
            plain = (time.process_time() - start) / args.plain * args.images
            _print(mode, "PNG", "plain loop", plain, plain, plain)
            for files, folder in (("PNG", "masks_output"), ("json", "json")):
                for workers in (0, 2):
                    wall, cpu, images = _command(root, folder, mode, workers)
                    _check(expected, images)
                    _print(mode, files, str(workers or 1), wall, cpu, plain)


def _print(mode: str, files: str, processes: str, wall: float, cpu: float, plain: float) -> None:
    print(f"| {mode:10s} | {files:5s} | {processes:>10s} | {wall:7.1f} | {cpu:11.1f} | {plain / cpu:20.1f} |")


def _write(root: Path, index: int, number: int, size: int) -> None:
    """Write the labels of a scene and masks of it: whole regions, parts of them, and masks across their borders."""
    labels = texture_scene(0, index, size, texture_source(None))[1]
    rng = np.random.default_rng(index)
    masks = []
    for k in range(number):
        field = smooth_noise(rng, size, size * rng.uniform(0.04, 0.2))
        mask = field > np.quantile(field, rng.uniform(0.3, 0.95))
        if k % 3:  # two of three keep to one region
            mask &= labels == rng.integers(0, labels.max() + 1)
        masks.append(mask if mask.any() else labels == 0)
    for folder in ("labels", "masks_output", "json"):
        (root / folder).mkdir(exist_ok=True)
    cv2.imwrite(str(root / f"labels/{index}.png"), labels * np.uint8(100))
    for k, mask in enumerate(masks):
        cv2.imwrite(str(root / f"masks_output/mask_{k}_{index}.png"), mask * np.uint8(255))
    content = {"annotations": [{"id": k, "segmentation": encode_rle(mask)} for k, mask in enumerate(masks)]}
    (root / f"json/{index}.json").write_text(json.dumps(content))


def _command(root: Path, folder: str, mode: str, workers: int) -> tuple[float, float, dict[str, Any]]:
    """Run the command; return its seconds, those of its processes on CPUs, and the scores of each image."""
    out = root / "scores.json"
    command = [
        sys.executable, str(_COMMAND), "texture", "--pred", str(root / folder), "--gt", str(root / "labels"),
        "--dataset", "stmd", "--mode", mode, "--workers", str(workers), "--out", str(out),
    ]  # fmt: skip
    start, before = time.perf_counter(), _cpu()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start, _cpu() - before, json.loads(out.read_text())["images"]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _check(expected: Sequence[dict[str, float]], images: dict[str, Any]) -> None:
    for index, scores in enumerate(expected):
        for name, value in scores.items():
            if not np.isclose(images[str(index)][name], value, rtol=0, atol=1e-6):
                raise SystemExit(f"{name} of image {index} is {images[str(index)][name]}, {value} by the plain loop")


def _read(root: Path, index: int) -> tuple[Masks, NDArray[np.uint8]]:
    paths = root.glob(f"masks_output/mask_*_{index}.png")
    numbered = sorted(paths, key=lambda path: int(re.findall(r"\d+", path.name)[0]))
    labels = cv2.imread(str(root / f"labels/{index}.png"), cv2.IMREAD_UNCHANGED)
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0 for path in numbered], labels


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return np.logical_and(first, second).sum() / np.logical_or(first, second).sum()


def _strict(masks: Masks, labels: NDArray[np.uint8]) -> dict[str, float]:
    painted = np.zeros(labels.shape, int)
    for number, mask in sorted(enumerate(masks, 1), key=lambda item: -item[1].sum()):
        painted[mask] = number
    truths = [labels == value for value in np.unique(labels)]
    ious = np.array([[_iou(painted == number, truth) for truth in truths] for number in np.unique(painted)])
    rows, columns = linear_sum_assignment(-ious)
    unions = [np.zeros(labels.shape, bool) for _ in truths]
    for mask in masks:
        unions[int(np.argmax([np.logical_and(mask, truth).sum() for truth in truths]))] |= mask
    return {
        "mIoU": ious[rows, columns].sum() / len(truths),
        "ARI": adjusted_rand_score(labels.ravel(), painted.ravel()),
        "mIoU_agg": float(np.mean([_iou(union, truth) for union, truth in zip(unions, truths, strict=True)])),
    }


def _published(masks: Masks, labels: NDArray[np.uint8]) -> dict[str, float]:
    """Score as the scripts for STMD do, in the order of their steps."""
    means = []
    for value in np.unique(labels):
        truth = labels == value
        touching = [mask for mask in masks if np.logical_and(mask, truth).any()]
        pairs = [(_iou(mask, truth), adjusted_rand_score(truth.ravel(), mask.ravel())) for mask in touching]
        if pairs:
            means.append(np.mean(pairs, axis=0))
    own = [(mask.sum(), mask, max(_shares(mask, labels), key=lambda item: (item[0], -item[1]))[1]) for mask in masks]
    painted = np.zeros(labels.shape, int)
    for _, mask, value in sorted((item for item in own if item[2]), key=lambda item: -item[0]):
        painted[mask] = value
    rows = []
    for predicted, truth in zip(painted, labels.astype(int), strict=True):
        common = (predicted & truth).sum()
        union = predicted.sum() + truth.sum() - common
        rows.append(common / union if union else 0.0)
    miou, ari = np.mean(means, axis=0)
    return {"mIoU": float(miou), "ARI": float(ari), "mIoU_agg": float(np.mean(rows))}


def _shares(mask: NDArray[np.bool_], labels: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    for value in np.unique(labels):
        yield int(np.logical_and(mask, labels == value).sum()), int(value)


if __name__ == "__main__":
    main()
