"""samplug's parts in what is not samplug's: mmseg's models, MMEngine's Runner, other scopes, an installed wheel."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image

import samplug  # noqa: F401
from samplug.utils.imports import quiet_optional_operators
from tests.builders import TINY_ARCH
from tests.conftest import ROOT

ARCH = {**TINY_ARCH, "global_attn_indexes": [1]}
SIZE = 32


@pytest.fixture(autouse=True)
def _scope():
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope="module")
def ade(tmp_path_factory):
    """Six images with label maps of the classes 0 (nothing) to 4, in ADE20K's layout; image and label go together."""
    root = tmp_path_factory.mktemp("ade")
    draw = np.random.default_rng(0)
    for part in ("training", "validation"):
        for folder in ("images", "annotations"):
            (root / folder / part).mkdir(parents=True)
        for index in range(3):
            labels = np.kron(draw.integers(0, 5, (2, 3)), np.ones((24, 20))).astype(np.uint8)
            colours = np.stack([labels * 50, 200 - labels * 30, labels * 20], axis=-1).astype(np.uint8)
            Image.fromarray(colours).save(root / f"images/{part}/ADE_{index}.jpg")
            Image.fromarray(labels).save(root / f"annotations/{part}/ADE_{index}.png")
    return root


def test_mmseg_model_in_a_plain_runner(ade, tmp_path):
    """The published stock config, in MMEngine's own Runner and scope ``mmseg``: trains, resumes from its checkpoint, and tests."""
    with quiet_optional_operators():
        cfg = Config.fromfile(ROOT / "projects/multi_class/fcn_sam-vit-b_1xb4-80k_ade20k-512.py")
    assert cfg.default_scope == "mmseg"
    cfg.work_dir = str(tmp_path)
    cfg.model.backbone.update(arch=ARCH, img_size=SIZE, out_channels=16, init_cfg=None)
    cfg.model.decode_head.update(in_channels=16, channels=8)
    cfg.model.data_preprocessor.size = (SIZE, SIZE)
    cfg.model.test_cfg.update(crop_size=(SIZE, SIZE), stride=(20, 20))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(ade)
        loader.update(num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:
            if "scale" in step:
                step.scale = (4 * SIZE, SIZE)
            if "crop_size" in step:
                step.crop_size = (SIZE, SIZE)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    cfg.visualizer.vis_backends = []

    runner = Runner.from_cfg(cfg)
    assert type(runner.model).__module__.startswith("mmseg.")
    assert type(runner.model.backbone).__module__.startswith("samplug.")
    head = runner.model.decode_head.conv_seg.weight.detach().clone()
    encoder = {name: value.clone() for name, value in runner.model.backbone.state_dict().items()}
    assert not any(parameter.requires_grad for parameter in runner.model.backbone.parameters())
    runner.train()
    assert runner.iter == 2
    assert not torch.equal(runner.model.decode_head.conv_seg.weight, head)
    assert encoder.keys() == runner.model.backbone.state_dict().keys()

    cfg.load_from = str(tmp_path / "iter_2.pth")
    cfg.experiment_name = "test"
    metrics = Runner.from_cfg(cfg).test()
    assert 0 <= metrics["mIoU"] <= 100


def test_our_data_and_metrics_in_a_plain_runner(tmp_path):
    """``samplug.`` names only, MMEngine's Runner, no default scope of ours, and a model that samplug has never heard of."""
    from mmengine.model import BaseModel
    from mmengine.structures import PixelData

    class Threshold(BaseModel):
        """Says of bright pixels that they are foreground."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.1))

        def forward(self, inputs, data_samples=None, mode="tensor"):
            logits = [self.scale * (image.float().mean(0, keepdim=True) - 128) for image in inputs]
            if mode == "loss":
                target = torch.stack([sample.gt_sem_seg.data for sample in data_samples]).float()
                return dict(loss=torch.nn.functional.binary_cross_entropy_with_logits(torch.stack(logits), target))
            for logit, sample in zip(logits, data_samples, strict=True):
                sample.seg_logits = PixelData(data=logit)
            return data_samples

    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for index in range(3):
        mask = np.zeros((40, 50), np.uint8)
        mask[5 : 20 + index, 10:30] = 255
        Image.fromarray(np.where(mask, 250, 10).astype(np.uint8)).convert("RGB").save(
            tmp_path / f"data/images/{index}.png"
        )
        Image.fromarray(mask).save(tmp_path / f"data/masks/{index}.png")
    pipeline = [dict(type=f"samplug.{name}") for name in ("LoadImage", "LoadBinaryMask", "PackSegInputs")]
    loader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="samplug.BinarySegDataset", data_root=str(tmp_path / "data"), pipeline=pipeline),
    )
    runner = Runner(
        model=Threshold(), work_dir=str(tmp_path / "work"), train_dataloader=loader, test_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1), optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-3)),
        test_cfg={}, test_evaluator=[dict(type="samplug.SaliencyMetric"), dict(type="samplug.OverlapMetric"), dict(type="samplug.BERMetric")],
    )  # fmt: skip
    runner.train()
    metrics = runner.test()
    assert metrics["Dice"] == 1
    assert metrics["MAE"] < 0.01
    assert metrics["BER"] == 0


def test_ts_sam_in_the_scope_of_mmseg():
    """Its own parts are found by their bare names, whatever the default scope."""
    DefaultScope.get_instance("foreign", scope_name="mmseg")
    model = MODELS.build(
        dict(type="samplug.TSSAM", num_classes=3, backbone=dict(type="SAMViT", arch=ARCH, img_size=SIZE),
             adapter=dict(type="TSSAMSideNetwork", side_channels=8, csa_blocks=[0], mrm_blocks=[1]))
    )  # fmt: skip
    assert model.eval()(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 3, SIZE, SIZE)


TINY_TASK = """
img_size = 32
max_epochs = 1
num_workers = 0
val_fraction = 0.3
test_fraction = 0.3
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=16, depth=2, num_heads=2, global_attn_indexes=(1,)),
                           img_size=img_size, init_cfg=None),
             loss='bce_iou')
"""


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Interpreter and packages of an environment with the wheel, whose dependencies are those of this environment."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    packages = next(Path(entry) for entry in sys.path if (Path(entry) / "mmengine").is_dir())
    (site / "dependencies.pth").write_text(f"{packages}\n")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(site), str(wheel)], check=True)
    return environment / "bin/python", site


@pytest.fixture
def call(installed, tmp_path):
    """Runs a script of the wheel in a folder that knows no checkout; what it printed."""
    python, _ = installed

    def call(script, *arguments):
        environ = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        run = subprocess.run(
            list(map(str, [python, script, *arguments])),
            cwd=tmp_path, capture_output=True, text=True, env={**environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-3000:]
        return run.stdout + run.stderr

    return call


def test_a_task_with_the_wheel(installed, call, tmp_path):
    """Installed, not cloned: the template is copied out of it, trained, tested and used by the console command."""
    _, site = installed
    command, mim = site / "bin/samplug", site / "samplug/.mim"
    for kind in ("images", "masks"):
        (tmp_path / "data/my_task" / kind).mkdir(parents=True)
    for index in range(12):
        mask = np.zeros((40, 50), np.uint8)
        mask[5 : 20 + index, 10:30] = 255
        Image.fromarray(np.where(mask, 250, 10).astype(np.uint8)).convert("RGB").save(
            tmp_path / f"data/my_task/images/{index}.png"
        )
        Image.fromarray(mask).save(tmp_path / f"data/my_task/masks/{index}.png")
    (tmp_path / "my_task.py").write_text((mim / "projects/template/my_task.py").read_text() + TINY_TASK)

    assert "train Train a model from a config" in " ".join(call(command, "--help").split())
    call(command, "train", "my_task.py", "--device", "cpu")
    (best,) = (tmp_path / "work_dirs/my_task").glob("best_mDice_epoch_1.pth")
    assert "mDice" in call(mim / "tools/test.py", "my_task.py", best, "--device", "cpu")
    images = "data/my_task/images"
    call(command, "predict", "my_task.py", best, images, "--out-dir", "out", "--device", "cpu", "--export", "coco")
    assert len(list((tmp_path / "out").rglob("*.png"))) >= 12
    assert "ts-sam_sam-vit-b_4xb2-80e_cod-1024" in call(command, "download", "--list")
    record = json.loads(next((tmp_path / "work_dirs/my_task").glob("*/run.json")).read_text())
    assert record["parameters"]["trained"] > 0


def test_the_quickstart_of_the_wheel(installed, call, tmp_path):
    """Its configs and commands come out of the wheel; a config of the wheel is trained by its name, too."""
    command = installed[1] / "bin/samplug"
    tiny = [
        "max_iters=1",
        "train_length=4",
        "test_length=2",
        "data_size=48",
        "img_size=32",
        "num_workers=0",
        "train_dataloader.batch_size=2",
    ]
    assert "TS-SAM, trained here" in call(command, "quickstart", "--cfg-options", *tiny)
    assert (tmp_path / "quickstart_results/comparison.png").is_file()
    call(command, "train", "quickstart", "--cfg-options", *tiny)
    assert (tmp_path / "work_dirs/quickstart/iter_1.pth").is_file()


def test_mmseg_model_predicts_images(tmp_path):
    """By samplug's command, although the scope is ``mmseg`` and the number of classes is stated by the head."""
    from samplug.commands.folder_predictions import Settings, predict
    from samplug.config import load_config
    from samplug.imaging.files import read_mask

    torch.manual_seed(0)
    cfg = load_config(ROOT / "projects/multi_class/fcn_sam-vit-b_1xb4-80k_ade20k-512.py")
    cfg.model.backbone.update(arch=ARCH, img_size=SIZE, init_cfg=None)
    cfg.model.decode_head.update(norm_cfg=None, channels=8)
    cfg.model.data_preprocessor.size = cfg.model.test_cfg.crop_size = (SIZE, SIZE)
    cfg.model.test_cfg.stride = (20, 20)
    cfg.test_dataloader.dataset.pipeline[1].scale = (4 * SIZE, SIZE)
    cfg.dump(tmp_path / "fcn.py")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    outcome = predict(Settings(str(tmp_path / "fcn.py"), "untrained"), [tmp_path / "a.png"], out, formats=["coco"])
    mask = read_mask(out / "masks/a.png")
    assert outcome.objects["coco"] >= len(set(mask[mask > 0].tolist())) > 0
    content = json.loads((out / "coco/annotations.json").read_text())
    assert (len(content["categories"]), content["categories"][1]["name"]) == (149, "sky")
