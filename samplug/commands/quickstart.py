"""Train, test and draw a small TS-SAM in minutes, and compare it with baselines.

The data are generated camouflage, or DATA/images and DATA/masks. The commands ``train`` and ``test`` do the work.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.registry import init_default_scope
from numpy.typing import NDArray

from samplug.commands.common import add_cfg_options
from samplug.config import load_config
from samplug.evaluation import baselines
from samplug.evaluation.protocols import ImageResult, Overlap, Saliency
from samplug.imaging.files import read_mask
from samplug.registry import DATASETS
from samplug.utils.files import write_text
from samplug.visualization import compare_sheet, draw_overlay, write_picture

_CONFIGS = ("quickstart.py", "quickstart_folder.py")
_SHEET_ROWS = 8
_METRICS = ("S", "MAE", "IoU")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", help="folder with images/ and masks/; default: generated scenes")
    parser.add_argument("--out-dir", default="quickstart_results")
    parser.add_argument("--seed", type=int, default=0)
    add_cfg_options(parser)


def execute(args: argparse.Namespace) -> None:
    options = {"randomness.seed": args.seed}
    if args.data:
        config = f"samplug::{_CONFIGS[1]}"
        options["data_root"] = args.data
    else:
        config = f"samplug::{_CONFIGS[0]}"
        options["train_seed"] = args.seed
    try:
        quickstart(config, args.out_dir, {**options, **args.cfg_options})
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None  # the command has printed its error


def quickstart(config: str, out_dir: str, options: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Train, test, compare with baselines, and draw.

    Args:
        config: A config whose evaluators are ``[SaliencyMetric, OverlapMetric]``.
        out_dir: Folder for checkpoints, masks, scores (``results.json``) and pictures (``overlays/``,
            ``comparison.png``).
        options: ``--cfg-options`` of both commands.

    Returns:
        Method -> metric -> value: the trained model, the untrained model, a centre prior and a constant.

    Raises:
        subprocess.CalledProcessError: A command failed and has printed its error.
    """
    out = Path(out_dir)
    started = time.time()
    # A quickstart replaces an earlier quickstart, but no other training run.
    again = ["--overwrite"] if any((out / name).is_file() for name in _CONFIGS) else []
    _call("train", config, "--work-dir", str(out), *again, options=options)
    minutes = (time.time() - started) / 60

    checkpoint = (out / "last_checkpoint").read_text().strip()
    table = {"TS-SAM, trained here": _test(config, checkpoint, out / "trained", options, out / "overlays")}
    table["TS-SAM, untrained"] = _test(config, "untrained", out / "untrained", options)
    table |= _score_baselines(config, options, out)

    write_text(out / "results.json", json.dumps(table, indent=1))
    _print(table, minutes, out)
    return table


def _call(command: str, *arguments: str, options: Mapping[str, Any]) -> None:
    words = [f"{key}={value}" if isinstance(value, str) else f"{key}={value!r}" for key, value in options.items()]
    subprocess.run([sys.executable, "-m", "samplug", command, *arguments, "--cfg-options", *words], check=True)


def _test(
    config: str, checkpoint: str, out: Path, options: Mapping[str, Any], overlays: Path | None = None
) -> dict[str, float]:
    reports = [out / "saliency.json", out / "overlap.json"]
    files = {f"test_evaluator.{index}.out_file": str(report) for index, report in enumerate(reports)}
    show = ["--show-dir", str(overlays)] if overlays else []
    arguments = [config, checkpoint, "--work-dir", str(out), "--out", str(out / "masks"), *show]
    _call("test", *arguments, options={**options, **files})
    return {name: value for report in reports for name, value in json.loads(report.read_text())["summary"].items()}


def _score_baselines(config: str, options: Mapping[str, Any], out: Path) -> dict[str, dict[str, float]]:
    """Score predictions without a model, and write the sheet that shows all methods."""
    cfg = load_config(config, options)
    init_default_scope("samplug")
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    methods = {"centre prior": baselines.centre_prior, "constant 0": baselines.constant}
    protocols = (Saliency(), Overlap())
    results: dict[str, list[list[ImageResult]]] = {name: [[] for _ in protocols] for name in methods}
    rows = []
    for index in range(len(dataset)):
        item: dict[str, Any] = dataset[index]
        sample = item["data_samples"]
        gt: NDArray[np.bool_] = sample.gt_sem_seg.data[0].numpy() == 1
        for name, method in methods.items():
            pred = method(np.zeros((*gt.shape, 3), np.uint8))
            for protocol, so_far in zip(protocols, results[name], strict=True):
                so_far.append(protocol.score(pred, gt))
        if index < _SHEET_ROWS:
            rows.append(_sheet_row(item, gt, out))
    write_picture(out / "comparison.png", compare_sheet(rows))
    return {
        name: protocols[0].summarise(saliency) | protocols[1].summarise(overlap)
        for name, (saliency, overlap) in results.items()
    }


def _sheet_row(item: dict[str, Any], gt: NDArray[np.bool_], out: Path) -> dict[str, NDArray[np.uint8]]:
    name = f"{Path(item['data_samples'].img_path).stem}.png"
    trained = read_mask(out / "trained" / "masks" / name)
    image: Any = np.ascontiguousarray(item["inputs"].permute(1, 2, 0).numpy())
    image = cv2.resize(image, gt.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return {
        "image": image,
        "ground truth": gt.astype(np.uint8) * np.uint8(255),
        "untrained": read_mask(out / "untrained" / "masks" / name),
        "trained": trained,
        "overlay": draw_overlay(image, trained > 127, gt),
    }


def _print(table: dict[str, dict[str, float]], minutes: float, out: Path) -> None:
    print(f"\ntrained in {minutes:.1f} min; scores on images that training never saw\n")
    print(f"{'method':24s}" + "".join(f"{name:>8s}" for name in _METRICS))
    for method, scores in table.items():
        print(f"{method:24s}" + "".join(f"{scores[name]:8.3f}" for name in _METRICS))
    print(f"\nS and IoU: higher is better; MAE: lower.\npictures: {out / 'comparison.png'}, {out / 'overlays'}")
