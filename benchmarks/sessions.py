#!/usr/bin/env python
"""Measure a training step on simulated interactions with and without PromptableSAM's activation checkpointing.

python benchmarks/sessions.py [--objects 1 4 16] [--corrections 7] [--img-size 1024] [--runs 3] [--threads N]

SAM's mask decoder is trained; the encoder is one small block, so the interactions dominate. Memory is what the loss
keeps for the backward pass, and on a GPU the peak of the whole step.
"""

import argparse
import statistics
import time

import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmdet.structures import DetDataSample

_BLOCK = dict(embed_dims=32, depth=1, num_heads=2, global_attn_indexes=())


class Kept:
    """Count the bytes that a graph keeps for the backward pass, each storage once, without parameters."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            self._bytes[storage.data_ptr()] = (
                storage.nbytes()
            )  # all storages live as long as the graph, so no address repeats
        return tensor

    @property
    def gigabytes(self) -> float:
        return sum(self._bytes.values()) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--corrections", type=int, default=7, help="clicks after the first prompt of a session")
    parser.add_argument("--img-size", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3, help="steps that are timed, after one that is not")
    parser.add_argument("--threads", type=int, help="default: torch's choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    init_default_scope("samplug")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    where = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.corrections} corrections, {args.img_size} px, fp32, {where}, torch {torch.__version__}\n")
    print(f"| objects | with_cp | GB kept |{' peak GB |' if cuda else ''} s / step | time |")
    print(f"|---:|---|---:|{'---:|' if cuda else ''}---:|---:|")
    for objects in args.objects:
        plain = None
        for with_cp in (False, True):
            kept, peak, seconds = measure(objects, with_cp, args, device)
            plain = plain or seconds
            shown = f" {peak:.2f} |" if cuda else ""
            name = "yes" if with_cp else "no"
            print(
                f"| {objects} | {name} | {kept:.2f} |{shown} {seconds:.2f} | {seconds / plain:.2f} |",
                flush=True,
            )


def measure(objects: int, with_cp: bool, args: argparse.Namespace, device: torch.device) -> tuple[float, float, float]:
    """Measure GB kept for the backward pass, peak GB on a GPU, and median seconds of a step."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="PromptableSAM",
            backbone=dict(type="SAMViT", arch=_BLOCK, img_size=args.img_size, frozen=True),
            train_prompts=dict(type="PromptSimulator", num_correction_points=args.corrections),
            frozen=["decode_head.prompt_encoder"],
            with_cp=with_cp,
        )
    )
    model.init_weights()
    model.to(device).train()
    image = torch.randn(1, 3, args.img_size, args.img_size, device=device)
    masks = torch.zeros(objects, args.img_size, args.img_size, dtype=torch.uint8)
    for index, mask in enumerate(masks):
        mask[10 + index : 200 + 8 * index, 20:400] = 1
    sample = DetDataSample(metainfo=dict(sample_seed=(0, 0, 0)), gt_instances=InstanceData(masks=masks))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    kept, seconds = Kept(), []
    for run in range(1 + args.runs):
        start = time.perf_counter()
        if run:
            losses = model.loss(image, [sample])
        else:
            with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
                losses = model.loss(image, [sample])
        sum(losses.values()).backward()
        model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    return kept.gigabytes, peak, statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
