"""Errors name the place of a wrong key or type in the config, its class, and the valid keys or names."""

import itertools
import re

import pytest
from mmengine.config import Config
from mmengine.registry import Registry, build_model_from_cfg

from samplug.commands.common import TRAIN_SECTIONS, build_runner
from samplug.config import load_config
from samplug.engine.build_errors import accepted_keys, named_in
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.shrink import shrink


@pytest.fixture(scope="module", autouse=True)
def own_parts():
    """Classes of this file, in the registry only as long as its tests run."""
    for part in (Sequence, _Part):
        MODELS.register_module(module=part)
    yield
    for part in (Sequence, _Part):
        MODELS.module_dict.pop(part.__name__)


@pytest.fixture
def run(tmp_path):
    """Trains, or tests, the quickstart's config in small, with changes."""

    def start(options: dict, test: bool = False) -> None:
        cfg = shrink(load_config(ROOT / "configs/quickstart.py"), tmp_path / "work", tmp_path)
        cfg.merge_from_dict(options)
        cfg.experiment_name = f"{tmp_path.name} {next(runs)}"  # MMEngine keeps what has a name
        for section in TRAIN_SECTIONS if test else ():
            cfg.pop(section, None)
        if test:
            cfg.load_from = "untrained"
            build_runner(cfg).test()
        else:
            build_runner(cfg).train()

    return start


runs = itertools.count()

TRAINING = {
    "model.foo": "model: TSSAM has no 'foo' (its keys: ",
    "model.adapter.side_channel": "model.adapter: TSSAMSideNetwork has no 'side_channel'; did you mean side_channels?",
    "train_dataloader.batchsize": "train_dataloader: DataLoader has no 'batchsize'; did you mean batch_size",
    "train_dataloader.sampler.shufle": "train_dataloader.sampler: InfiniteSampler has no 'shufle'; did you mean shuffle?",
    "train_dataloader.dataset.foo": "train_dataloader.dataset: CamouflageSceneDataset has no 'foo'",
    "train_dataloader.dataset.pipeline.0.foo": "train_dataloader.dataset.pipeline.0: LoadImage has no 'foo' (its keys: none)",
    "train_dataloader.dataset.pipeline.2.keep_ration": "train_dataloader.dataset.pipeline.2: Resize has no 'keep_ration'; did you mean keep_ratio?",
    "default_hooks.logger.intervall": "default_hooks.logger: LoggerHook has no 'intervall'; did you mean interval",
    "default_hooks.checkpoint.intervall": "default_hooks.checkpoint: CheckpointHook has no 'intervall'; did you mean interval?",
    "optim_wrapper.foo": "optim_wrapper: OptimWrapper has no 'foo'",
    "optim_wrapper.optimizer.weight_decy": "optim_wrapper.optimizer: AdamW has no 'weight_decy'; did you mean weight_decay?",
    "train_cfg.max_iter": "train_cfg: IterBasedTrainLoop has no 'max_iter'; did you mean max_iters",
    "log_processor.foo": "log_processor: LogProcessor has no 'foo'",
    "visualizer.foo": "visualizer: Visualizer has no 'foo'",
}  # fmt: skip


@pytest.mark.parametrize("key", TRAINING)
def test_a_wrong_key_is_named_with_its_place(run, key):
    with pytest.raises(ConfigError, match="^config: " + re.escape(TRAINING[key])):
        run({key: 3})


def test_a_wrong_key_of_what_is_built_late(run):
    with pytest.raises(ConfigError, match=r"^config: param_scheduler\.1: LinearLR has no 'begn'; did you mean begin\?"):
        run({"param_scheduler": [dict(type="ConstantLR"), dict(type="LinearLR", begn=3)]})
    with pytest.raises(ConfigError, match=r"^config: param_scheduler\.0: LinearLR has no 'begn'"):
        run({"param_scheduler": [dict(type="LinearLR", begn=3, convert_to_iter_based=True)]})
    with pytest.raises(
        ConfigError, match=r"^config: train_cfg: EpochBasedTrainLoop has no 'max_epoch'; did you mean max_epochs"
    ):
        run({"train_cfg": dict(_delete_=True, by_epoch=True, max_epochs=2, max_epoch=2)})
    with pytest.raises(ConfigError, match=r"^config: test_evaluator\.1: OverlapMetric has no 'foo'"):
        run({"test_evaluator.1.foo": 3}, test=True)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.adapter.type", "model.adapter: no model is called 'Overlp' (one of your own"),
        ("test_evaluator.1.type", "test_evaluator.1: no metric is called 'Overlp'; did you mean OverlapMetric"),
        ("test_dataloader.dataset.pipeline.0.type", "test_dataloader.dataset.pipeline.0: no transform is called 'Overlp'"),
        ("default_hooks.timer.type", "default_hooks.timer: no hook is called 'Overlp'"),
    ],
)  # fmt: skip
def test_an_unknown_type_is_named_with_its_place(run, key, message):
    with pytest.raises(ConfigError, match="^config: " + re.escape(message)):
        run({key: "Overlp"}, test=True)


def built(model: dict) -> None:
    cfg = Config(dict(model=model))
    with named_in(cfg):
        MODELS.build(cfg.model)


def test_a_key_that_is_needed_and_one_that_is_no_dict():
    with pytest.raises(ConfigError, match=r"^config: model\.adapter: CachedEncoder needs .*cache_dir"):
        built(dict(type="Sequence", parts=[], adapter=dict(type="CachedEncoder")))
    with pytest.raises(ConfigError, match=r"^config: model\.adapter: 3 is no dict\(type=\.\.\.\)"):
        built(dict(type="Sequence", parts=[], adapter=3))
    with pytest.raises(
        ConfigError, match=r"^config: model\.adapter: a model needs a type=\.\.\., and there is none in \{'r': 3\}"
    ):
        built(dict(type="Sequence", parts=[], adapter=dict(r=3)))


def test_a_type_that_was_renamed():
    with pytest.raises(
        ConfigError, match=r"^config: model\.adapter: SelectionHook is SplitLeakageHook now: change its type$"
    ):
        built(dict(type="Sequence", parts=[], adapter=dict(type="SelectionHook")))


def test_registries_are_as_before():
    """Registries that were made while a config was being built lose the noting function too."""
    cfg = Config(dict(model=dict(type="nothing")))
    with named_in(cfg):
        child = Registry("model", parent=MODELS, scope="samplug_test")
        assert hasattr(child.build_func, "__wrapped__")
    with pytest.raises(ConfigError, match="no model is called 'nothing'"), named_in(cfg):
        MODELS.build(cfg.model)
    assert not any(hasattr(registry.build_func, "__wrapped__") for registry in (child, MODELS, MODELS.parent))
    MODELS.children.pop("samplug_test")


class Sequence:
    """Builds its parts, passes the rest on, and is wrong itself when it is told to be."""

    def __init__(self, parts, adapter=None, broken=None, **kwargs):
        if broken == "key":
            accepted_keys(broken=True)
        if broken == "argument":
            accepted_keys()
        if broken == "lookup":
            {}["key"]
        self.parts = [MODELS.build(part, default_args=dict(number=number)) for number, part in enumerate(parts)]
        self.adapter = adapter and MODELS.build(adapter)


class _Part:
    def __init__(self, size, number):
        pass


class _Base:
    def __init__(self, depth, **kwargs):
        pass


class _Derived(_Base):
    def __init__(self, *args, width=1, **kwargs):
        super().__init__(*args, **kwargs)


def test_like_parts_are_told_apart_or_all_named():
    part, wrong = dict(type="_Part", size=1), dict(type="_Part", size=1, sise=2)
    with pytest.raises(
        ConfigError, match=r"^config: model\.parts\.1: _Part has no 'sise'; did you mean size\? \(its keys: size\)$"
    ):
        built(dict(type="Sequence", parts=[part, wrong]))
    with pytest.raises(
        ConfigError, match=r"^config: model\.parts\.0, model\.parts\.1, model\.parts\.2 and 1 more: _Part has"
    ):
        built(dict(type="Sequence", parts=[wrong] * 4))
    with pytest.raises(ConfigError, match=r"^config: model\.parts\.0\.parts\.0: _Part has"):
        built(dict(type="Sequence", parts=[dict(type="Sequence", parts=[wrong])]))


@pytest.mark.parametrize(("broken", "error"), [("key", TypeError), ("argument", TypeError), ("lookup", KeyError)])
def test_errors_of_the_code_stay(broken, error):
    with pytest.raises(error) as raised:
        built(dict(type="Sequence", parts=[], broken=broken))
    assert not isinstance(raised.value, ConfigError)


def test_keys_of_the_bases_count_where_they_are_passed_on():
    assert accepted_keys(_Derived) == ["depth", "width"]
    assert accepted_keys(_Part) == ["number", "size"]
    assert accepted_keys(build_model_from_cfg) == ["cfg", "default_args", "registry"]
