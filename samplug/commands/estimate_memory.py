"""Estimate the memory and the operations of a config, without weights, data or a GPU.

Prints parameters, floating point operations, the memory of training and testing, and whether training fits on GPUs with
16, 24 and 80 GB. The model runs on fake tensors, so this takes seconds on any machine.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from samplug.commands.options import CfgOptions

CARDS = (16, 24, 80)
# Reserve for what is not counted: a share of the GPU's memory for fragmentation, bytes for context and workspaces.
_SHARE, _RESERVE = 0.1, 2**30
NOT_COUNTED = (
    "Not counted: CUDA's context, workspaces of kernels, fragmentation, buckets of data parallelism, masks at the "
    "original size of the images. For these, a tenth of the GPU's memory and 1 GiB are reserved"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", nargs="*", help="config files, samplug::FILE of the package, or names of published configs"
    )
    parser.add_argument("--all", action="store_true", help="all published configs, as a table in Markdown")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per training step (default: the config's)")
    parser.add_argument("--amp", action="store_true", help="training in mixed precision, as with train.py --amp")
    parser.add_argument("--objects", type=int, metavar="N", help="objects per image, for training with prompts")
    parser.add_argument(
        "--cfg-options", nargs="+", action=CfgOptions, default={}, metavar="KEY=VALUE", help="override settings"
    )


def execute(args: argparse.Namespace) -> None:
    if args.all == bool(args.config):
        raise argparse.ArgumentError(None, "name at least one config, or use --all")
    if args.all:
        for line in table(published(), **_settings(args)):
            print(line, flush=True)
        return
    for config in args.config:
        print(describe(config, **_settings(args)))


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return dict(
        batch_size=args.batch_size, amp=args.amp or None, objects=args.objects, cfg_options=args.cfg_options or None
    )


def describe(config: str, **settings: Any) -> str:
    """Return the estimate of a config as text; ``settings`` as for :func:`samplug.apis.estimate_memory`."""
    from samplug.apis import estimate_memory

    found = estimate_memory(config, **settings)
    height, width = found.input_size
    objects = f" with {found.objects} objects each" if found.objects > 1 else ""
    rows = [
        ("weights", found.weights, f"{found.parameters / 1e6:.1f} M parameters"),
        ("gradients", found.gradients, f"{found.trained / 1e6:.1f} M parameters are trained"),
        ("optimiser", found.optimiser, "its states"),
        ("activations", found.activations, "kept for the backward pass"),
        ("peak of training", found.train_peak, f"each image adds {found.train_image / 2**30:.2f} GiB"),
        ("peak of a test", found.test_peak, f"batch size {found.test_batch_size}, float32"),
    ]
    return "\n".join(
        [
            f"{config}: input {width}x{height}, batch size {found.batch_size}{objects}, "
            f"{'bfloat16' if found.amp else 'float32'}",
            *(f"  {name:17}{value / 2**30:8.2f} GiB   {note}" for name, value, note in rows),
            f"  operations for an image: training {found.train_flops / 1e12:.3g} TFLOP, test "
            f"{found.test_flops / 1e12:.3g} TFLOP",
            *(f"  {card} GB card: {verdict(found, card)}" for card in CARDS),
            f"{NOT_COUNTED}.",
        ]
    )


def verdict(found: Any, card: int) -> str:
    """Describe whether training fits on a GPU with ``card`` GB, and with which batch size.

    A fit is ``tight`` if it leaves less memory than :data:`NOT_COUNTED` reserves.
    """
    memory = card * 2**30
    most = found.largest_batch(memory * (1 - _SHARE) - _RESERVE)
    if found.train_peak <= memory * (1 - _SHARE) - _RESERVE:
        return f"yes, to {most}"
    return ("tight" if found.train_peak <= memory else "no") + (f"; {most} fits" if most else "")


def published() -> list[str]:
    """Return the names of the configs of samplug's model index that train a model."""
    from samplug.config import load_config
    from samplug.model_index import names, resolve

    configs = [name for name in names() if resolve(name).config is not None]
    return [name for name in configs if "train_dataloader" in load_config(name)]


def table(names: list[str], **settings: Any) -> Iterator[str]:
    """Yield the lines of a Markdown table; configs with equal estimates share a row."""
    from samplug.apis import estimate_memory

    yield "| config | images | parameters, trained (M) | TFLOP train, test | fixed | activations | peak | test | " + (
        " | ".join(f"{card} GB" for card in CARDS) + " |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|" + "---|" * len(CARDS)
    rows: dict[Any, list[str]] = {}
    for name, key in ((name, _what_counts(name, settings)) for name in names):
        rows.setdefault(key, []).append(name)
    for alike in rows.values():
        found = estimate_memory(alike[0], **settings)
        fixed = found.weights + found.gradients + found.optimiser
        sizes = (f"{size / 2**30:.2f}" for size in (fixed, found.activations, found.train_peak, found.test_peak))
        cells = (
            "<br>".join(f"`{name}`" for name in alike),
            str(found.batch_size),
            f"{found.parameters / 1e6:.1f}, {found.trained / 1e6:.1f}",
            f"{found.train_flops / 1e12:.3g}, {found.test_flops / 1e12:.3g}",
            *sizes,
            *(verdict(found, card) for card in CARDS),
        )
        yield f"| {' | '.join(cells)} |"


def _what_counts(name: str, settings: dict[str, Any]) -> str:
    """Return the settings of a config that affect its estimate, as text."""
    from samplug.config import load_config
    from samplug.datasets.configs import datasets_of

    cfg = load_config(name, settings.get("cfg_options"))
    loader, wrapper = cfg.get("train_dataloader") or {}, cfg.get("optim_wrapper") or {}
    objects = [own.get("max_objects") for own in datasets_of(loader.get("dataset"))]
    optimiser = [wrapper.get("type"), wrapper.get("accumulative_counts"), (wrapper.get("optimizer") or {}).get("type")]
    return repr((_without_sources(cfg.model), loader.get("batch_size"), objects, optimiser))


def _without_sources(value: Any) -> Any:
    """Return a part of a model's config without the settings of weights and tests."""
    if not isinstance(value, dict):
        return value
    if value.get("type") == "CachedEncoder":
        return _without_sources(value["encoder"])
    left_out = ("init_cfg", "test_prompts", "test_cfg")
    return {key: _without_sources(part) for key, part in value.items() if key not in left_out}
