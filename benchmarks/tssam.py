#!/usr/bin/env python
"""Measure speed and memory of SAM's encoder and of TS-SAM, and of transformers' encoder in the same run.

    python benchmarks/tssam.py --arch vit_b --size 1024 --batch 1 --precision fp32

Prints a table: images per second (median of the runs), peak memory, and the ratio to transformers' encoder with the
same sizes. Weights are random. Each row runs in a process of its own, so that its memory is measured alone.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

ROWS = (
    "transformers encoder",
    "encoder",
    "encoder, biased",
    "encoder, folded",
    "test",
    "train",
    "train, side network",
    "train, checkpointing",
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def transformers_encoder(args: argparse.Namespace) -> torch.nn.Module:
    from transformers import SamVisionConfig
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    from samplug.models.backbones.sam_vit import resolve_arch

    sizes = resolve_arch(args.arch)
    config = SamVisionConfig(
        hidden_size=sizes["embed_dims"],
        num_hidden_layers=sizes["depth"],
        num_attention_heads=sizes["num_heads"],
        image_size=args.size,
        window_size=sizes["window_size"],
        global_attn_indexes=list(sizes["global_attn_indexes"]),
        mlp_dim=int(sizes["embed_dims"] * sizes["mlp_ratio"]),
    )
    config._attn_implementation = "sdpa"
    return SamVisionEncoder(config).eval()


def build(row: str, args: argparse.Namespace) -> tuple[torch.nn.Module, bool]:
    """Build the model of a row; return it and True if the row trains."""
    from mmengine.registry import init_default_scope

    from samplug.registry import MODELS

    init_default_scope("samplug")
    if row == "transformers encoder":
        return transformers_encoder(args), False
    backbone = dict(type="SAMViT", arch=args.arch, img_size=args.size, with_cp="checkpointing" in row)
    if row.startswith("encoder"):
        return MODELS.build({**backbone, "attention": row.partition(", ")[2] or "auto"}).eval(), False
    adapter = dict(type="TSSAMSideNetwork", feedback="side network" not in row)
    return MODELS.build(dict(type="TSSAM", backbone=backbone, adapter=adapter)), row.startswith("train")


def measure(row: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure images per second and peak memory in GB of one row."""
    device = torch.device(args.device)
    with device:
        model, training = build(row, args)
        images = torch.randn(args.batch, 3, args.size, args.size)
        target = torch.randint(0, 2, (args.batch, 1, args.size, args.size))
    model.train(training)
    autocast = nullcontext() if args.precision == "fp32" else torch.autocast(device.type, DTYPES[args.precision])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5) if training else None

    def step() -> None:
        with autocast, torch.set_grad_enabled(training):
            logits = model(images)
            if optimizer is not None:
                loss = sum(model.loss_fn(logits, target).values())
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    seconds = [timed(step, device) for _ in range(args.warmup + args.runs)][args.warmup :]
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return dict(images_per_second=args.batch / statistics.median(seconds), peak_gb=peak)


def timed(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vit_b", choices=["vit_b", "vit_l", "vit_h"])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--only", choices=ROWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return

    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.arch} {args.size} px, batch {args.batch}, {args.precision}, {name}, torch {torch.__version__}\n")
    print(f"| {'':24s} | images/s | to transformers | peak GB |\n|{'-' * 26}|---:|---:|---:|")
    baseline = None
    for row in args.rows:
        run = subprocess.run([sys.executable, *sys.argv, "--only", row], capture_output=True, text=True)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or [f"ended by signal {-run.returncode}"])[-1]
            print(f"| {row:24s} | failed: {reason[:80]} | | |", flush=True)
            continue
        result = json.loads(run.stdout.strip().splitlines()[-1])
        if row == "transformers encoder":
            baseline = result["images_per_second"]
        ratio = (
            f"{result['images_per_second'] / baseline:.2f}"
            if baseline and row.startswith(("encoder", "transf"))
            else ""
        )
        print(f"| {row:24s} | {result['images_per_second']:.3f} | {ratio} | {result['peak_gb']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
