"""One part of each kind from outside the package, in one file: docs/extend.md."""

import sys

import cv2
import numpy as np
import pytest

from samplug.commands.run import main
from samplug.evaluation.protocols import PROTOCOLS

PARTS = '''
"""Parts of another package."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.structures import PixelData
from torch import nn

from samplug.evaluation.protocols import FileProtocol, ImageResult, register_protocol
from samplug.imaging.files import read_mask
from samplug.models.adapters import Adapter
from samplug.models.backbones import Encoder
from samplug.models.base import SamplugModule
from samplug.registry import DATASETS, MODELS


@MODELS.register_module()
class PatchMixer(Encoder):
    """An encoder of two linear blocks."""

    patch_size, embed_dims, out_channels = 8, 16, 16

    def __init__(self, img_size, frozen=False, with_cp=False, init_cfg=None):
        super().__init__(img_size, frozen, with_cp, init_cfg)
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.apply_frozen()

    @property
    def depth(self):
        return 2

    def embed(self, images):
        return self.patches(images).permute(0, 2, 3, 1)

    def run_block(self, index, tokens):
        return tokens + self.blocks[index](tokens)

    def forward(self, images, tap=None):
        self.check_input_size(*images.shape[-2:])
        patches = tokens = self.embed(images)
        if tap is not None:
            tokens = tap.after_embed(images, patches, tokens)
        return (self._run_blocks(tokens, [1], tap)[1].permute(0, 3, 1, 2),)


class _ScaleTap:
    def __init__(self, scale):
        self.scale = scale

    def after_embed(self, images, patches, tokens):
        return tokens * self.scale

    def after_block(self, index, tokens):
        self.features = (tokens.permute(0, 3, 1, 2),)
        return tokens


@MODELS.register_module()
class ScaleAdapter(Adapter):
    """Scales the channels of the tokens."""

    def attach(self, encoder):
        encoder.check_taps("ScaleAdapter")
        self.scale = nn.Parameter(torch.ones(encoder.embed_dims))

    def tap(self):
        return _ScaleTap(self.scale)


@MODELS.register_module()
class LinearHead(SamplugModule):
    """One linear layer for each pixel."""

    checkpoint_part = "decode_head"
    threshold = 0.5

    def __init__(self, num_classes=1):
        super().__init__()
        self.linear = nn.Conv2d(16, num_classes, 1)

    def forward(self, features):
        return self.linear(features[-1])


@MODELS.register_module()
class BrightnessModel(BaseModel):
    """The foreground is brighter than a learned level; it hands over probabilities."""

    outputs = "probabilities"

    def __init__(self):
        super().__init__(data_preprocessor=dict(type="mmseg.SegDataPreProcessor", size=(32, 32), test_cfg=dict(size=(32, 32))))
        self.level = nn.Parameter(torch.tensor(100.0))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        logits = (inputs.mean(dim=1, keepdim=True) - self.level) / 20
        if mode == "loss":
            target = torch.stack([sample.gt_sem_seg.data for sample in data_samples])
            return dict(loss=F.binary_cross_entropy_with_logits(logits, (target == 1).float()))
        for sample, probability in zip(data_samples or (), logits.sigmoid(), strict=True):
            sample.set_data(dict(seg_logits=PixelData(data=probability), pred_sem_seg=PixelData(data=(probability > 0.5).long())))
        return data_samples if mode == "predict" else logits


@DATASETS.register_module()
class NumberedFolder(BaseDataset):
    """``N.png`` and ``N_mask.png`` in one folder."""

    def load_data_list(self):
        masks = sorted(Path(self.data_root).glob("*_mask.png"))
        return [
            dict(img_path=str(mask).replace("_mask", ""), seg_map_path=str(mask), mask_values="0/255", seg_fields=[]) for mask in masks
        ]


@register_protocol
@dataclass(frozen=True)
class Area(FileProtocol):
    """Error of the foreground's area, in pixels."""

    name = "area"
    columns = ("area_error",)
    lower_is_better = frozenset(columns)

    def read_ground_truth(self, files):
        return read_mask(files[0]) > 0

    def read_prediction(self, files, ground_truth):
        return read_mask(files[0]) > 127

    def score(self, pred, ground_truth):
        return ImageResult({"area_error": abs(float(pred.sum()) - float(ground_truth.sum()))})
'''

COMMAND = '''
"""Count the masks of a folder."""

from pathlib import Path


def add_arguments(parser):
    parser.add_argument("folder")


def execute(args):
    print(len(list(Path(args.folder).glob("*_mask.png"))), "masks")
'''

CONFIG = """
_base_ = 'samplug::_base_/default_runtime.py'
custom_imports = dict(imports=['samplug', 'my_parts'])
model = dict(MODEL)
pipeline = [
    dict(type='LoadImage'), dict(type='LoadBinaryMask'), dict(type='mmseg.Resize', scale=(32, 32)), dict(type='mmseg.PackSegInputs')]
loader = dict(
    batch_size=2, num_workers=0,
    dataset=dict(type='NumberedFolder', data_root='DATA', pipeline=pipeline))
train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True), **loader)
test_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=False), **loader)
test_evaluator = [dict(type='OverlapMetric', workers=0)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2))
visualizer = dict(vis_backends=[])
log_processor = dict(by_epoch=False)
"""
MODELS = {
    "encoder, adapter and decoder": "type='SAMSegmentor', backbone=dict(type='PatchMixer', img_size=32), "
    "adapter=dict(type='ScaleAdapter'), decode_head=dict(type='LinearHead')",
    "model": "type='BrightnessModel'",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with an entry point, and a folder of its kind of data."""
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "my_command.py").write_text(COMMAND)
    info = tmp_path / "my_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[samplug.commands]\ncount-masks = my_command\n")
    data = tmp_path / "data"
    data.mkdir()
    for number in range(4):
        mask = np.zeros((32, 32), np.uint8)
        mask[4 : 12 + 4 * number, 8:24] = 255
        cv2.imwrite(str(data / f"{number}_mask.png"), mask)
        cv2.imwrite(str(data / f"{number}.png"), np.stack([mask // 2 + 60] * 3, axis=-1))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    PROTOCOLS.pop("area", None)
    for name in ("my_parts", "my_command"):
        sys.modules.pop(name, None)


def forget(registries=("MODELS", "DATASETS")):
    from samplug import registry

    for name in registries:
        modules = getattr(registry, name)._module_dict
        for part in [part for part, value in modules.items() if value.__module__ == "my_parts"]:
            del modules[part]


@pytest.mark.parametrize("model", MODELS)
def test_models_and_datasets(package, model, capsys):
    """Train, save and test with parts of another package."""
    config = package / "my_config.py"
    config.write_text(CONFIG.replace("MODEL", MODELS[model]).replace("DATA", str(package / "data")))
    try:
        assert main("train", [str(config), "--work-dir", "run"]) == 0
        assert main("test", [str(config), "run/iter_2.pth", "--work-dir", "run", "--out", "masks"]) == 0
    finally:
        forget()
    assert "IoU" in capsys.readouterr().err + "".join(path.read_text() for path in package.glob("run/*/*.log"))
    written = cv2.imread(str(package / "masks/3.png"), cv2.IMREAD_GRAYSCALE)
    assert written.shape == (32, 32)
    if (
        model == "model"
    ):  # probabilities are scored and written as they are: sigmoid((187 - 100) / 20) and sigmoid((60 - 100) / 20)
        assert written.max() > 240
        assert written.min() < 60


def test_protocol(package, capsys):
    for number in range(4):
        mask = cv2.imread(str(package / f"data/{number}_mask.png"), cv2.IMREAD_GRAYSCALE)
        mask[0] = 255
        for folder in ("pred", "gt"):
            (package / folder).mkdir(exist_ok=True)
        cv2.imwrite(
            str(package / f"gt/{number}.png"),
            cv2.imread(str(package / f"data/{number}_mask.png"), cv2.IMREAD_GRAYSCALE),
        )
        cv2.imwrite(str(package / f"pred/{number}.png"), mask)
    try:
        assert main("evaluate", ["--import", "my_parts", "area", "--pred", "pred", "--gt", "gt", "--workers", "0"]) == 0
    finally:
        forget()
    assert "32.0000" in capsys.readouterr().out


def test_command(package, capsys):
    assert main(None, ["count-masks", "data"]) == 0
    assert capsys.readouterr().out == "4 masks\n"
    with pytest.raises(SystemExit):
        main(None, ["--help"])
    assert "count-masks" in capsys.readouterr().out
