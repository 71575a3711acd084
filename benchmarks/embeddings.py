#!/usr/bin/env python
"""Time an epoch of decoder-only training with the encoder run in every epoch, and its maps on disk (CachedEncoder).

It also prints the processor time that reading the maps costs the training process, with and without data workers.

python benchmarks/embeddings.py [--arch vit_b] [--img-size 1024] [--images 4] [--threads N]
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from samplug.datasets.seeding import SeededDataset
from samplug.datasets.synthetic import camouflage_scene
from samplug.features import FeatureReader
from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

_PASSES = 4  # over the images, in measuring what reading costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vit_b", help="a size of SAMViT (vit_...) or SAM2Hiera (hiera_...)")
    parser.add_argument("--img-size", type=int, default=1024)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--corrections", type=int, default=7, help="clicks after the first prompt of a session")
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope("samplug")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        encoder = _encoder(args.arch, args.img_size, Path(folder))
        cached = dict(type="CachedEncoder", encoder=encoder, cache_dir=f"{folder}/maps")
        plain = _model({**encoder, "frozen": True}, args.corrections, device)
        uncached = [_epoch(plain, args, device) for _ in range(2)][1]  # the first one warms up
        del plain
        model = _model(cached, args.corrections, device)
        first = _epoch(model, args, device)
        later = _epoch(model, args, device)
        costs = {
            name: _lookup_ms(model, args, reader)
            for name, reader in (("the training process", False), ("data workers", True))
        }
        size = sum(path.stat().st_size for path in Path(folder, "maps").rglob("*.safetensors")) / args.images
        where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{args.arch} at {args.img_size} pixels, {args.corrections} corrections, batches of {args.batch_size}, "
        f"{where}; {size / 1e6:.1f} MB for an image\n"
    )
    print(
        "| epoch                             | s / image | ratio "
        "|\n|-----------------------------------|----------:|------:|"
    )
    rows = {
        "encoder run in every epoch": uncached,
        "CachedEncoder, first epoch": first,
        "CachedEncoder, later epochs": later,
    }
    for name, seconds in rows.items():
        print(f"| {name:33s} | {seconds / args.images:9.2f} | {uncached / seconds:5.2f} |")
    print("\n| images are hashed, maps are read by | ms / image in the training process | ratio |\n|---|---:|---:|")
    for name, cost in costs.items():
        print(f"| {name} | {cost:.1f} | {costs['the training process'] / cost:.2f} |")


def _encoder(arch: str, img_size: int, folder: Path) -> dict[str, Any]:
    """Make the config of an encoder with random weights in a file."""
    cfg = dict(type="SAM2Hiera" if arch.startswith("hiera") else "SAMViT", arch=arch, img_size=img_size)
    encoder = MODELS.build(cfg)
    encoder.init_weights()
    torch.save({f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}, folder / "e.pth")
    return {**cfg, "init_cfg": dict(type="Pretrained", checkpoint=str(folder / "e.pth"))}


def _model(backbone: Mapping[str, Any], corrections: int, device: torch.device) -> Any:
    encoder = backbone.get("encoder", backbone)
    head = "SAM2MaskDecoder" if encoder["type"] == "SAM2Hiera" else "SAMMaskDecoder"
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="PromptableSAM",
            backbone=backbone,
            decode_head=dict(type=head, prompts=True),
            train_prompts=dict(type="PromptSimulator", num_correction_points=corrections),
        )
    )
    model.init_weights()
    return model.to(device).train()


def _epoch(model: Any, args: argparse.Namespace, device: torch.device) -> float:
    """Measure seconds for all images, from loaded images to the step of the optimiser."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    batches = [
        _batch(range(s, min(s + args.batch_size, args.images)), args.img_size)
        for s in range(0, args.images, args.batch_size)
    ]
    start = time.perf_counter()
    for batch in batches:
        losses = model.loss(**model.data_preprocessor(batch, True))
        sum(losses.values()).backward()
        optimiser.step()
        optimiser.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


class _Scenes:
    """Loaded pictures, one sample at a time."""

    def __init__(self, args: argparse.Namespace) -> None:
        batch = _batch(range(args.images), args.img_size)
        self.items = [
            dict(inputs=i, data_samples=s) for i, s in zip(batch["inputs"], batch["data_samples"], strict=True)
        ]

    def __len__(self) -> int:
        return _PASSES * len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.items[index % len(self.items)]
        return dict(inputs=item["inputs"], data_samples=item["data_samples"].clone())


def _lookup_ms(model: Any, args: argparse.Namespace, in_workers: bool) -> float:
    """Return the milliseconds of the training process, from a worker's batch to the maps on the device."""
    dataset = SeededDataset(_Scenes(args), 0)
    if in_workers:
        dataset.set_step(FeatureReader(model.backbone.store, model.data_preprocessor.settings))
    loader = DataLoader(dataset, args.batch_size, num_workers=1, collate_fn=pseudo_collate)
    batches = iter(loader)
    start = time.process_time()
    for batch in batches:
        data = model.data_preprocessor(batch, True)
        model.backbone.stored_or_computed(data["inputs"], data["data_samples"])
    return 1000 * (time.process_time() - start) / len(dataset)


def _batch(indexes: range, size: int) -> dict[str, Any]:
    images, samples = [], []
    for index in indexes:
        image, mask = camouflage_scene(0, index, size)
        images.append(torch.from_numpy(image.copy()).permute(2, 0, 1))
        sample = SegDataSample(metainfo=dict(ori_shape=(size, size), sample_seed=(0, 0, index)))
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(mask.copy()).long()[None])
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


if __name__ == "__main__":
    main()
