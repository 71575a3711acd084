"""State that data fill is told from weights: a checkpoint may lack it, and keeps it where it is filled."""

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from samplug.checkpoints import (
    EmptyStateError,
    WeightsError,
    filled_names,
    load_weights,
    read_checkpoint,
    require_filled,
)
from samplug.commands.common import build_runner
from samplug.engine.weights import load_for_evaluation
from samplug.registry import MODELS
from tests.engine.test_interruption import config


class Bank(nn.Module):
    """Features of reference images, (number, 4); starts empty."""

    def __init__(self):
        super().__init__()
        self.register_buffer("features", torch.zeros(0, 4))

    def filled_state(self):
        return ("features",)

    def nearest(self, query):
        require_filled(self, "run tools/fill.py CONFIG CHECKPOINT")
        return (query @ self.features.T).argmax(dim=1)


class Matcher(BaseModel):
    """A linear encoder and a bank; each training step adds a feature to the bank."""

    def __init__(self, checkpoint=None):
        super().__init__(init_cfg=checkpoint and dict(type="Pretrained", checkpoint=checkpoint))
        self.encoder = nn.Linear(3, 4)
        self.bank = Bank()

    def forward(self, inputs, data_samples=None, mode="tensor"):
        features = self.encoder(torch.stack([image.float().mean((1, 2)) / 255 for image in inputs]))
        if mode == "loss":
            self.bank.features = torch.cat([self.bank.features, features[:1].detach()])
            return dict(loss=features.square().mean())
        return self.bank.nearest(features)


@pytest.fixture(autouse=True)
def own_model():
    MODELS.register_module(module=Matcher)
    yield
    MODELS.module_dict.pop("Matcher")


@pytest.fixture
def filled(tmp_path):
    model = Matcher()
    model.bank.features = torch.eye(4)[:3]
    torch.save(model.state_dict(), tmp_path / "filled.pth")
    return model, str(tmp_path / "filled.pth")


IMAGES = [torch.full((3, 8, 8), 100.0)]


def test_checkpoint_without_the_state_fits(filled, tmp_path):
    model, _ = filled
    assert filled_names(model) == {"bank.features"}
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("bank.")}
    torch.save(weights, tmp_path / "weights.pth")
    empty = Matcher()
    load_for_evaluation(empty, str(tmp_path / "weights.pth"))
    assert torch.equal(empty.encoder.weight, model.encoder.weight)
    with pytest.raises(EmptyStateError, match=r"features of Bank is empty: run tools/fill\.py"):
        empty(IMAGES)
    from_init_cfg = Matcher(str(tmp_path / "weights.pth"))
    load_for_evaluation(from_init_cfg, "none")
    assert torch.equal(from_init_cfg.encoder.weight, model.encoder.weight)
    del weights["encoder.bias"]
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"1 missing in the file: encoder\.bias\n"):
        load_for_evaluation(empty, str(tmp_path / "weights.pth"))


def test_state_of_another_length_is_loaded(filled, tmp_path):
    model, path = filled
    for loaded in (Matcher(), Matcher(path)):
        load_for_evaluation(loaded, path)
        assert torch.equal(loaded.bank.features, model.bank.features)
        assert torch.equal(loaded(IMAGES), model(IMAGES))
    wide = Matcher()
    wide.bank.features = torch.zeros(0, 5)
    with pytest.raises(WeightsError, match=r"bank\.features: file \(3, 4\), module \(0, 5\)"):
        load_weights(wide, path)
    assert wide.bank.features.shape == (0, 5)


def test_saving_and_resuming_keep_it(tmp_path):
    def cfg(name, **changes):
        made = config(tmp_path / name, False, **changes)
        made.model, made.custom_hooks = dict(type="Matcher"), []
        made.train_cfg.max_iters = 4
        return made

    expected = build_runner(cfg("whole")).train()
    assert expected.bank.features.shape == (4, 4)
    resumed = build_runner(cfg("resumed", resume=True, load_from=str(tmp_path / "whole/iter_2.pth"))).train()
    assert torch.equal(resumed.bank.features, expected.bank.features)
    assert torch.equal(
        read_checkpoint(tmp_path / "resumed/iter_4.pth")["state_dict"]["bank.features"], expected.bank.features
    )
