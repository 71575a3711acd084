#!/usr/bin/env python
"""Calculate the traffic between GPUs in a training step and the memory on each GPU; nothing is measured.

    python benchmarks/scaling.py --gpus 8 16 32 64 --gpus-per-node 8

Models are built on the meta device, without memory; the counts are sums over their parameters. Assumptions: parameters,
gradients and the two AdamW states in float32; data-parallel training (DDP) sums float32 gradients by ring all-reduce;
FSDP gathers bfloat16 parameters for the forward and again for the backward pass, and reduce-scatters float32 gradients;
hybrid sharding does so inside a node and all-reduces each GPU's share of the gradients between nodes. Transfers run at
the full speed of the link, without latency and without overlap with computation.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

FLOAT32, BFLOAT16 = 4, 2
ADAMW_STATES = 2
# Bytes per second and GPU, in one direction.
LINKS = {"NVLink 450 GB/s": 450e9, "InfiniBand 50 GB/s": 50e9, "Ethernet 3 GB/s": 3e9}
ARCHS = ("vit_b", "vit_l", "vit_h")


@dataclass(frozen=True)
class Case:
    """A set of trained parameters.

    Attributes:
        name: Name in the tables.
        arch: Encoder.
        frozen: The encoder is frozen.
        feedback: The adapter changes the encoder's tokens (the released TS-SAM); False: a true side network.
        parts: Prefixes of the trained parameters; empty: all parameters that the model leaves trainable.
    """

    name: str
    arch: str
    frozen: bool = True
    feedback: bool = True
    parts: tuple[str, ...] = ()


CASES = (
    *(Case(f"adapter, {arch}", arch) for arch in ARCHS),
    *(Case(f"side network, {arch}", arch, feedback=False) for arch in ARCHS),
    Case("decoder only", "vit_b", parts=("decode_head.",)),
    *(Case(f"everything, {arch}", arch, frozen=False) for arch in ARCHS),
)


@dataclass(frozen=True)
class Counts:
    """Parameter counts of a model."""

    total: int
    trained: int


def count(case: Case) -> Counts:
    """Build the model of a case on the meta device and count its parameters."""
    model = build(case)
    return Counts(_sum(model.parameters()), _sum(p for p in model.parameters() if p.requires_grad))


def build(case: Case) -> nn.Module:
    """The case's model on the meta device, with ``requires_grad`` set for training."""
    from mmengine.registry import init_default_scope

    from samplug.registry import MODELS

    init_default_scope("samplug")
    with torch.device("meta"):
        model = MODELS.build(
            dict(
                type="TSSAM",
                backbone=dict(type="SAMViT", arch=case.arch, frozen=case.frozen),
                adapter=dict(type="TSSAMSideNetwork", feedback=case.feedback),
            )
        )
    if case.parts:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(case.parts))
    return model


def _sum(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def ring(gpus: int) -> float:
    """Return the share of a tensor that a GPU sends in a ring's all-gather or reduce-scatter; all-reduce is both."""
    return (gpus - 1) / gpus


def ddp_bytes(trained: int, gpus: int) -> float:
    """Return the bytes that a GPU sends in a step: all-reduce of the gradients."""
    return 2 * ring(gpus) * trained * FLOAT32


def fsdp_bytes(total: int, trained: int, gpus: int) -> float:
    """Return the bytes that a GPU sends in a step: two all-gathers of parameters, one reduce-scatter of gradients."""
    return ring(gpus) * (2 * total * BFLOAT16 + trained * FLOAT32)


def hybrid_bytes(total: int, trained: int, gpus: int, per_node: int) -> tuple[float, float]:
    """Return the bytes that a GPU sends in a step inside its node, and between nodes."""
    return fsdp_bytes(total, trained, per_node), ddp_bytes(trained, gpus // per_node) / per_node


def state_bytes(total: int, trained: int, shards: int = 1) -> float:
    """Return the bytes on a GPU: parameters, and gradients and AdamW's states of trained ones, over ``shards`` GPUs."""
    return (total + (1 + ADAMW_STATES) * trained) * FLOAT32 / shards


def table(head: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table whose columns, except the first, are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def kept(counts: dict[Case, Counts]) -> str:
    """Table of the memory of a GPU."""
    rows = []
    for case, n in counts.items():
        gigabytes = [n.trained * FLOAT32, n.trained * ADAMW_STATES * FLOAT32, state_bytes(n.total, n.trained)]
        if not case.frozen:
            gigabytes += [state_bytes(n.total, n.trained, shards) for shards in (8, 64)]
        cells = [f"{size / 1e9:.2f}" for size in gigabytes]
        rows.append([case.name, f"{n.total:,}", f"{n.trained:,}", *cells, *[""] * (5 - len(cells))])
    head = [
        "trained",
        "parameters",
        "trained parameters",
        "gradients GB",
        "AdamW GB",
        "DDP GB",
        "FSDP 8 GB",
        "FSDP 64 GB",
    ]
    return table(head, rows)


def moved(counts: dict[Case, Counts], gpus: list[int], per_node: int) -> str:
    """Table of the traffic of a GPU in a step, in GB."""
    rows = []
    for case, n in counts.items():
        rows.append([f"{case.name}, DDP", *(f"{ddp_bytes(n.trained, g) / 1e9:.3f}" for g in gpus)])
        if not case.frozen:
            rows.append([f"{case.name}, FSDP full", *(f"{fsdp_bytes(n.total, n.trained, g) / 1e9:.3f}" for g in gpus)])
            hybrid = [hybrid_bytes(n.total, n.trained, g, per_node) for g in gpus]
            rows.append([f"{case.name}, FSDP hybrid", *(f"{a / 1e9:.3f} + {b / 1e9:.3f}" for a, b in hybrid)])
    return table(["GB sent by a GPU in a step", *(f"{g} GPUs" for g in gpus)], rows)


def seconds(counts: dict[Case, Counts], gpus: int, per_node: int) -> str:
    """Table of the time of the traffic in ms over one kind of link; hybrid sharding uses NVLink inside a node."""
    rows = []
    inside = next(iter(LINKS.values()))
    for case, n in counts.items():
        ways = {"DDP": (0.0, ddp_bytes(n.trained, gpus))}
        if not case.frozen:
            ways["FSDP full"] = (0.0, fsdp_bytes(n.total, n.trained, gpus))
            ways["FSDP hybrid"] = hybrid_bytes(n.total, n.trained, gpus, per_node)
        for way, (near, far) in ways.items():
            times = (near / inside + far / speed for speed in LINKS.values())
            rows.append([f"{case.name}, {way}", *(f"{1e3 * time:.1f}" for time in times)])
    return table([f"ms in a step, {gpus} GPUs", *LINKS], rows)


def tables(gpus: list[int], per_node: int) -> tuple[str, str, str]:
    """Tables of the memory of a GPU, of its traffic, and of the time of the traffic (for the last of ``gpus``)."""
    counts = {case: count(case) for case in CASES}
    return kept(counts), moved(counts, gpus, per_node), seconds(counts, gpus[-1], per_node)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--gpus-per-node", type=int, default=8)
    args = parser.parse_args()
    if wrong := [gpus for gpus in args.gpus if gpus % args.gpus_per_node]:
        parser.error(f"--gpus {wrong[0]} is not a multiple of --gpus-per-node {args.gpus_per_node}")
    print("\n\n".join(tables(args.gpus, args.gpus_per_node)))


if __name__ == "__main__":
    main()
