#!/usr/bin/env python
"""Measure linear probes: epochs with the encoder and with kept features, encoders, and the memory of the heads.

Images are random JPEG files; encoders are untrained. Without --published they are tiny, so that the costs beside the
encoder show.

python benchmarks/probe.py [--published] [--encoder DINOv2ViT] [--images 256] [--classes 100]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope

from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.evaluation.report import table
from samplug.models.probe import LinearProbe, ProbeHeads
from samplug.registry import MODELS
from samplug.utils.text import gib

_ROOT = Path(__file__).parents[1]
_VIT = dict(embed_dims=64, depth=4, num_heads=2)
# Type -> arch and input size, tiny and published.
_ENCODERS: dict[str, dict[str, tuple[Any, int]]] = {
    "SAMViT": dict(
        tiny=(dict(**_VIT, global_attn_indexes=[1, 3], window_size=7, patch_size=16), 112), published=("vit_b", 1024)
    ),
    "SAM2Hiera": dict(
        tiny=(dict(embed_dims=16, num_heads=1, stages=[1, 2, 2, 1], global_attn_blocks=[4]), 128),
        published=("hiera_t", 1024),
    ),
    "CLIPViT": dict(
        tiny=(dict(**_VIT, patch_size=16, projection_dims=32, pretrain_img_size=112), 112), published=("vit_b32", 224)
    ),
    "DINOv2ViT": dict(tiny=(dict(**_VIT, patch_size=14, pos_grid=8), 112), published=("vits14", 224)),
}
_EPOCHS = 3


class _Times(Hook):
    """Seconds of each training epoch, without validation and checkpoints."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_train_epoch(self, runner: Any) -> None:
        self._start = time.perf_counter()

    def after_train_epoch(self, runner: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", action="store_true", help="published sizes in place of tiny ones")
    parser.add_argument("--encoder", default="DINOv2ViT", choices=_ENCODERS, help="encoder of the epochs and heads")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--classes", type=int, default=100, help="at least 2, at most the images")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope("samplug")
    size = "published" if args.published else "tiny"
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder), args.images, args.classes)
        epochs, probe, start = _epochs(args, size, Path(folder))
    print(f"\n{args.images} images of 256 x 256 pixels, {args.classes} classes, batches of {args.batch_size}, {where}")
    print(
        f"\n{len(probe.head)} heads on {args.encoder}, {size}; computing and writing all features takes {start:.1f} s\n"
    )
    print(table(epochs, ["s / epoch", "epochs / min", "factor"], "epoch", 2))
    print(f"\nEncoders, {size}, in float32\n")
    print(table({name: _speed(name, size, args.batch_size) for name in _ENCODERS}, ["features / s"], "encoder", 2))
    print(f"\n{_memory(probe.head, args.classes)}")


def _write_images(folder: Path, images: int, classes: int) -> None:
    random = np.random.default_rng(0)
    for index in range(images):
        path = folder / "train" / f"{index % classes:04}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 255, (16, 16, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC))


def _backbone(name: str, size: str) -> dict[str, Any]:
    arch, img_size = _ENCODERS[name][size]
    return dict(type=name, arch=arch, img_size=img_size)


def _epochs(
    args: argparse.Namespace, size: str, folder: Path
) -> tuple[dict[str, dict[str, float]], LinearProbe, float]:
    """Train with and without files; return the rows of the table, the probe, and seconds to fill the file."""
    found, starts = {}, {}
    for cached in (False, True):
        backbone = _backbone(args.encoder, size)
        options = dict(
            num_classes=args.classes, img_size=backbone["img_size"], num_workers=args.workers, max_epochs=_EPOCHS
        )
        options |= dict(batch_size=args.batch_size, cache_dir=str(folder / "features") if cached else None)
        if args.encoder in ("CLIPViT", "DINOv2ViT"):
            options["poolings"] = ["cls", "cls+mean", "last4", "last4+mean"]
        cfg = load_config(str(_ROOT / "configs/_base_/probes/fair.py"), options)
        cfg.model.backbone = backbone
        cfg.train_dataloader.dataset = dict(
            type="ImageFolderDataset", data_root=str(folder), image_dir="train", pipeline=cfg.train_pipeline
        )
        cfg.merge_from_dict(dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator")))
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type == "FeatureCacheHook"]
        cfg.default_hooks.checkpoint = None
        cfg.default_hooks.pop("progress")
        cfg.work_dir, cfg.log_level = str(folder / f"run{cached}"), "ERROR"
        torch.manual_seed(0)
        runner, times = build_runner(cfg), _Times()
        runner.register_hook(times)
        begin = time.perf_counter()
        runner.train()
        found[cached], starts[cached] = min(times.seconds), time.perf_counter() - begin - sum(times.seconds)
    rows = {
        name: {"s / epoch": seconds, "epochs / min": 60 / seconds, "factor": found[False] / seconds}
        for name, seconds in (("encoder runs", found[False]), ("features are read", found[True]))
    }
    return rows, runner.bare_model, starts[True] - starts[False]


def _speed(name: str, size: str, batch: int) -> dict[str, float]:
    """Measure features in a second, without reading images."""
    probe = MODELS.build(dict(type="LinearProbe", backbone=_backbone(name, size), num_classes=2))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    probe.to(device)
    side = probe.backbone.img_size
    batch = 1 if device.type == "cpu" and side > 512 else batch
    images = torch.randn(batch, 3, side, side, device=device)
    seconds = []
    for _ in range(2):  # the first one warms up
        begin = time.perf_counter()
        probe.record(images).cpu()
        seconds.append(time.perf_counter() - begin)
    return {"features / s": batch / seconds[1]}


def _memory(heads: ProbeHeads, classes: int) -> str:
    """Describe the memory of the heads, also for 1,000 classes."""
    inputs = sum(head.in_features + 1 for head in heads.linears)
    numbers = {count: inputs * count for count in dict.fromkeys((classes, 1000))}
    lines = [
        f"{count} classes: {number / 1e6:.1f} M parameters, {gib(12 * number)} with gradients and momentum"
        for count, number in numbers.items()
    ]
    return "\n".join([f"{len(heads)} heads", *lines])


if __name__ == "__main__":
    main()
