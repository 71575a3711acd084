#!/usr/bin/env python
"""Cost of simulated interactions: the draw of clicks, and a training step with and without PromptableSAM's with_cp.

python benchmarks/interactions.py [--objects 1 4 16] [--corrections 7] [--img-size 1024] [--runs 3] [--threads N]

Clicks are drawn by one random number for each object, and, for comparison, by one for each pixel. The training step
trains SAM's mask decoder; the encoder is one small block, so that the interactions dominate. Memory is the size of the
tensors that the loss keeps for the backward pass, and on a GPU the peak of the whole step. --objects without a number
measures the draw of clicks only.
"""

import argparse
import statistics
import time

import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from samplug.models.prompts import prompt_generator
from samplug.models.prompts.clicks import choose_pixel
from samplug.registry import MODELS
from samplug.utils.imports import quiet_optional_operators

with quiet_optional_operators():
    from mmdet.structures import DetDataSample

_BLOCK = dict(embed_dims=32, depth=1, num_heads=2, global_attn_indexes=())


class Kept:
    """Bytes that a graph keeps for the backward pass, each storage once, without parameters."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            # All of them live until the graph goes, so that no address comes twice.
            self._bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def gigabytes(self) -> float:
        return sum(self._bytes.values()) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--corrections", type=int, default=7, help="clicks after the first prompt of an interaction")
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
    compare_draws(args, device)
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


def choose_by_pixels(candidates: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Choose a pixel of each mask (B, H, W) by one number for each pixel, as samplug did before: the largest wins."""
    numbers = torch.rand(*candidates.shape, generator=generator).to(candidates.device)
    return numbers.masked_fill(~candidates, -1).flatten(1).argmax(dim=1)


def choose_by_objects(candidates: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Choose a pixel of each mask (B, H, W) by one number for each mask."""
    numbers = torch.rand(len(candidates), generator=generator, dtype=torch.float64)
    return choose_pixel(candidates, numbers.to(candidates.device))


def compare_draws(args: argparse.Namespace, device: torch.device) -> None:
    """Print the milliseconds and MB of random numbers that the draw of one image's clicks on 3 objects takes."""
    objects, clicks, size = 3, args.corrections + 1, args.img_size
    errors = torch.zeros(objects, size, size, dtype=torch.bool, device=device)
    errors[:, size // 4 : size // 2, size // 8 : size // 2] = True
    methods = {"pixel": choose_by_pixels, "object": choose_by_objects}
    times: dict[str, list[float]] = {kind: [] for kind in methods}
    for run in range(1 + args.runs):
        for kind, choose in methods.items():
            generator = prompt_generator(0, run)
            start = time.perf_counter()
            for _ in range(clicks):
                choose(errors, generator)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[kind].append(1e3 * (time.perf_counter() - start))
    drawn = {"pixel": 4e-6 * objects * clicks * size**2, "object": 8e-6 * objects * clicks}  # float32, float64
    medians = {kind: statistics.median(values[1:]) for kind, values in times.items()}
    print(f"{clicks} clicks on each of {objects} objects\n\n| a number for each | ms / image | MB drawn | time |")
    print("|---|---:|---:|---:|")
    for kind, own in medians.items():
        print(f"| {kind} | {own:.1f} | {drawn[kind]:.4g} | {own / medians['pixel']:.3f} |")
    print(flush=True)


def measure(objects: int, with_cp: bool, args: argparse.Namespace, device: torch.device) -> tuple[float, float, float]:
    """Return GB kept for the backward pass, peak GB on a GPU, and median seconds of a step."""
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
