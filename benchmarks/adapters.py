#!/usr/bin/env python
"""Compare methods of adapting SAM: trained parameters, memory, time and score.

    python benchmarks/adapters.py --data FOLDER            # FOLDER/images, FOLDER/masks

Trained parameters, peak memory and time of a training step are measured for ViT-B with random weights and one image of
--img-size, each method in a process of its own. For S, a small encoder and SAM's decoder are first trained on generated
scenes; each method then starts from them, trains --iters steps on four fifths of the folder and is tested on the rest.
This compares methods at a small scale; it tells little about SAM's own weights.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import init_default_scope

from samplug.config import load_config
from samplug.evaluation.baselines import centre_prior
from samplug.evaluation.protocols import Saliency
from samplug.registry import DATASETS, MODELS

ROOT = Path(__file__).parents[1]
SIDE_NETWORK = dict(type="TSSAMSideNetwork", feedback=False, spatial_embedding=True)
METHODS: dict[str, dict[str, Any]] = {
    "decoder-only": dict(type="SAMSegmentor"),
    "LoRA": dict(type="SAMSegmentor", adapter=dict(type="LoRAAdapter")),
    "SAM-Adapter": dict(type="SAMSegmentor", adapter=dict(type="SAMAdapter")),
    "TS-SAM": dict(type="TSSAM", adapter=dict(type="TSSAMSideNetwork")),
    "TS-SAM, side network": dict(type="TSSAM", adapter=SIDE_NETWORK),
}
REFERENCE = "decoder-only"


def measure(method: str, args: argparse.Namespace) -> dict[str, float]:
    """Measure a training step of ViT-B in this process: trained parameters, peak memory in GB, median seconds."""
    size = args.img_size
    model = MODELS.build({**METHODS[method], "backbone": dict(type="SAMViT", arch="vit_b", img_size=size)})
    model.init_weights()
    model.train().to(args.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    images = torch.randn(1, 3, size, size, device=args.device)
    target = torch.randint(0, 2, (1, 1, size, size), device=args.device)
    cuda = torch.device(args.device).type == "cuda"
    seconds = []
    for _ in range(1 + args.runs):
        start = time.perf_counter()
        optimizer.zero_grad()
        sum(model.loss_fn(model(images), target).values()).backward()
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 1e9 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return dict(trained=sum(p.numel() for p in trained), peak=peak, seconds=statistics.median(seconds[1:]))


def small_config(method: str, base: str, options: dict[str, Any], weights: Path | None) -> Any:
    """Make a config of the quickstart with another model; without ``weights``, train the encoder too."""
    cfg = load_config(str(ROOT / "configs" / base), options)
    backbone, side = cfg.model.backbone.to_dict(), cfg.model.adapter.to_dict()
    model = {**METHODS[method], "backbone": backbone}
    if model["type"] == "TSSAM":
        model["adapter"] = {**{key: side[key] for key in ("side_channels", "mrm_blocks")}, **model["adapter"]}
    else:
        model["decode_head"] = dict(type="SAMMaskDecoder")
    if weights is not None:
        start = dict(type="Pretrained", checkpoint=str(weights))
        backbone.update(frozen=True, init_cfg=start)
        if "decode_head" in model:
            model["decode_head"]["init_cfg"] = start
    cfg.model = model
    return cfg


def train(cfg: Any, folder: Path) -> Path:
    """Train through the command and return the last checkpoint."""
    folder.mkdir(parents=True)
    cfg.dump(str(folder / "config.py"))
    call("train.py", folder / "config.py", "--work-dir", folder, "--device", "cpu")
    return Path((folder / "last_checkpoint").read_text().strip())


def s_measure(folder: Path, checkpoint: str | Path) -> float:
    """Return S of a checkpoint on the part of the folder that is held out, through the command."""
    report = folder / "saliency.json"
    options = ["--cfg-options", f"test_evaluator.0.out_file={report}"]
    call("test.py", folder / "config.py", checkpoint, "--work-dir", folder, "--device", "cpu", *options)
    return json.loads(report.read_text())["summary"]["S"]


def call(tool: str, *arguments: Any) -> None:
    command = [sys.executable, str(ROOT / "tools" / tool), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr[-2000:]}")


def prior(cfg: Any) -> float:
    """Return S of a Gaussian at the centre, on the same images."""
    protocol, results = Saliency(), []
    for item in DATASETS.build(cfg.test_dataloader.dataset):
        gt = item["data_samples"].gt_sem_seg.data[0].numpy() == 1
        results.append(protocol.score(centre_prior(np.zeros((*gt.shape, 3), np.uint8)), gt))
    return protocol.summarise(results)["S"]


def scores(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return S of the prior, of encoder and decoder before adaptation, and of each method."""
    weights = train(
        small_config(REFERENCE, "quickstart.py", dict(max_iters=args.pretrain_iters, lr=args.lr), None),
        folder / "start",
    )
    options = dict(data_root=str(Path(args.data).resolve()), max_iters=args.iters, lr=args.lr)
    cfgs = {method: small_config(method, "quickstart_folder.py", options, weights) for method in args.methods}
    result = {"centre prior": prior(next(iter(cfgs.values())))}
    for method, cfg in cfgs.items():
        out = folder / method.replace(", ", "-").replace(" ", "-")
        started = time.time()
        checkpoint = train(cfg, out)
        minutes = (time.time() - started) / 60
        result[method] = s_measure(out, checkpoint)
        print(f"{method}: {args.iters} steps on the folder in {minutes:.1f} min", file=sys.stderr, flush=True)
        if method == REFERENCE:
            result["not trained on the folder"] = s_measure(out, "none")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with images/ and masks/; without it there is no column S")
    parser.add_argument("--img-size", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3, help="steps that are timed, after one that is not")
    parser.add_argument("--pretrain-iters", type=int, default=1300)
    parser.add_argument("--iters", type=int, default=600)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of the steps of ViT-B"
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--only", choices=list(METHODS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    init_default_scope("samplug")
    if args.only:
        print(json.dumps(measure(args.only, args)))
        return

    steps: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys([REFERENCE, *args.methods]):
        run = subprocess.run([sys.executable, *sys.argv, "--only", method], capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{method} failed:\n{run.stderr[-2000:]}")
        steps[method] = json.loads(run.stdout.strip().splitlines()[-1])
    with tempfile.TemporaryDirectory() as folder:
        reached = scores(args, Path(folder)) if args.data else {}

    name = torch.cuda.get_device_name() if "cuda" in args.device else f"CPU, {torch.get_num_threads()} threads"
    print(f"ViT-B {args.img_size} px, batch 1, fp32, {name}, torch {torch.__version__}; S after {args.iters} steps\n")
    print(f"| method | trained parameters | peak GB | time to {REFERENCE} | S |\n|---|---:|---:|---:|---:|")
    for method in args.methods:
        step = steps[method]
        ratio = step["seconds"] / steps[REFERENCE]["seconds"]
        s = f"{reached[method]:.3f}" if method in reached else ""
        print(f"| {method} | {step['trained']:,.0f} | {step['peak']:.2f} | {ratio:.2f} | {s} |")
    for other in sorted(set(reached) - set(args.methods)):
        print(f"| {other} | | | | {reached[other]:.3f} |")


if __name__ == "__main__":
    main()
