"""Tests and resumed runs with averaged weights (EMAHook)."""

import copy

import pytest
import torch

from samplug.apis import init_model
from samplug.checkpoints import WeightsError
from samplug.commands.common import build_runner
from samplug.engine.hooks import EMAHook
from tests.checkpoints.test_loading import released_ts_sam
from tests.engine.test_runner import cfg, trained, trunk  # noqa: F401

EMA = dict(type="EMAHook", momentum=0.5)
SLIM = dict(type="OmitFrozenHook")


def test_a_test_with_the_hook_scores_the_loaded_weights(cfg, tmp_path):  # noqa: F811
    """MMEngine's hook would score its own copy, without weights of ``init_cfg`` or other layouts."""
    slim = trained(cfg, custom_hooks=[EMA, SLIM])
    expected = build_runner(cfg(test=True, load_from=slim)).test()
    released = str(tmp_path / "released.pth")
    torch.save(released_ts_sam(init_model(cfg(test=True), slim)), released)
    for checkpoint in (slim, released):
        found = build_runner(cfg(test=True, load_from=checkpoint, custom_hooks=[EMA])).test()
        assert found == pytest.approx(expected, rel=1e-6), checkpoint
    config = cfg(test=True, load_from="none", custom_hooks=[EMA])
    config.model.init_cfg = dict(type="Pretrained", checkpoint=released)
    assert build_runner(config).test() == pytest.approx(expected, rel=1e-6)
    assert build_runner(cfg(load_from=released, custom_hooks=[EMA])).train()


def test_a_run_with_the_hook_resumes_with_both_sets(cfg, tmp_path):  # noqa: F811
    """Resuming works even if a state dict lacks the frozen part; both state dicts can be loaded as weights."""
    path = trained(cfg, custom_hooks=[EMA, SLIM])
    content = torch.load(path, weights_only=False)
    # MMEngine stores the averaged weights as state_dict, and those being trained as ema_state_dict.
    averaged, weights = content["state_dict"], content["ema_state_dict"]
    config = cfg(resume=True, load_from=path, custom_hooks=[EMA, SLIM])
    config.train_cfg.max_iters = 3
    runner, seen = build_runner(config), {}
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))

    def look(runner, *args, **kwargs):
        seen["model"] = copy.deepcopy(runner.bare_model.state_dict())
        seen["averaged"] = copy.deepcopy(hook.ema_model.state_dict())

    hook.before_train_epoch = look
    runner.train()
    assert all(
        torch.equal(seen["model"][key.removeprefix("module.")], weights[key]) for key in weights if key != "steps"
    )
    assert all(torch.equal(seen["averaged"][f"module.{key}"], averaged[key]) for key in averaged)
    assert any(not torch.equal(weights[f"module.{key}"], averaged[key]) for key in averaged)
    assert seen["averaged"]["steps"] == weights["steps"] == 2

    for name, state in (("wrapped", {"ema_state_dict": weights}), ("bare", weights)):
        torch.save(state, tmp_path / f"{name}.pth")
        model = init_model(cfg(test=True), str(tmp_path / f"{name}.pth"))
        assert all(torch.equal(weights[f"module.{key}"], value) for key, value in model.state_dict().items())
    content["ema_state_dict"]["steps"] = "two"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"iter_2\.pth: ema_state_dict\.steps is 'two', expected a tensor"):
        build_runner(cfg(resume=True, load_from=path, custom_hooks=[EMA])).train()
