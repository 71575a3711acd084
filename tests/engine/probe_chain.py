"""Train or test a linear probe on folders of classes, in one or several processes that may kill themselves."""

import os
import signal
import sys

from mmengine.hooks import Hook

from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from tests.builders import TINY_ARCH, TINY_CLIP, TINY_DINOV2, TINY_HIERA
from tests.conftest import ROOT
from tests.ranks import end

ENCODERS = {
    "sam-vit-b": dict(TINY_ARCH),
    "sam2.1-hiera-t": dict(TINY_HIERA),
    "clip-vit-b32": dict(TINY_CLIP),
    "dinov2-vits14": dict(TINY_DINOV2),
}


def chain_cfg(encoder, data_root, work_dir, checkpoint=None, launcher="none", **options):
    """Two epochs of untrained features; with a checkpoint, its test."""
    given = dict(data_root=str(data_root), image_dir="train", test_dir="val", img_size=64, batch_size=64, max_epochs=2)
    given |= dict(num_workers=0, learning_rates=[0.01, 0.1])
    cfg = load_config(ROOT / f"configs/linear_probe/probe_{encoder}_folders.py", given | options)
    cfg.model.backbone.update(arch=ENCODERS[encoder], init_cfg=None)
    cfg.update(work_dir=str(work_dir), launcher=launcher, load_from=checkpoint)
    if checkpoint:
        for section in TRAIN_SECTIONS:
            cfg.pop(section, None)
        cfg.test_evaluator[0].out_file = f"{work_dir}/scores.json"
    return cfg


class KillAt(Hook):
    """Kill the process before an iteration, as the system does when memory runs out."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    encoder, data_root, work_dir, task = sys.argv[1:]
    kind, _, value = task.partition("=")
    cfg = chain_cfg(encoder, data_root, work_dir, value if kind == "test" else None, launcher="pytorch")
    cfg.resume = kind == "resume"
    runner = build_runner(cfg)
    if kind == "kill":
        runner.register_hook(KillAt(int(value)))
    runner.test() if kind == "test" else runner.train()


if __name__ == "__main__":
    end(main)
