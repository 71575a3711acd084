"""Command-line values reach everything that is built from a variable."""

import pytest

from samplug.config import load_config
from samplug.utils.errors import ConfigError

BASE = """
size = 64
name = 'a'
rate = 0.5
root = None
pipeline = [dict(type='Resize', scale=(size, size))]
"""
CHILD = """
_base_ = './base.py'
steps = (
    10)  # ends on another line
model = dict(size=_base_.size, name={{_base_.name}}, rate=_base_.rate * 2, unicode='ä')
half = steps // 2
train_cfg = dict(steps=steps, half=half)
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "child.py").write_text(CHILD)
    return tmp_path / "child.py"


def test_without_options(config):
    cfg = load_config(config)
    assert cfg.model == dict(size=64, name="a", rate=1.0, unicode="ä")
    assert cfg.train_cfg == dict(steps=10, half=5)
    assert cfg.filename == str(config)


def test_variables_reach_what_is_built_from_them(config):
    cfg = load_config(config, {"size": 32, "name": "b", "rate": 2, "steps": 8, "root": "x"})
    assert cfg.model == dict(size=32, name="b", rate=4, unicode="ä")
    assert cfg.pipeline == [dict(type="Resize", scale=(32, 32))]
    assert cfg.train_cfg == dict(steps=8, half=4)
    assert cfg.root == "x"


def test_dotted_and_runner_keys_are_merged(config):
    cfg = load_config(config, {"model.size": 16, "train_cfg": None, "load_from": "w.pth", "pipeline.0.type": "Crop"})
    assert cfg.model.size == 16
    assert cfg.train_cfg is None
    assert cfg.load_from == "w.pth"
    assert cfg.pipeline[0].type == "Crop"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sizes": 1}, "declares no 'sizes'.*did you mean size"), ({"size": "big"}, r"base\.py line 2 declares size = 64"),
     ({"modle.size": 1}, "did you mean model")],
)  # fmt: skip
def test_mistakes_are_named(config, options, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config, options)


def test_missing_files_are_named(config):
    with pytest.raises(ConfigError, match=r"nothing\.py does not exist"):
        load_config(config.with_name("nothing.py"))
    config.with_name("base.py").unlink()
    with pytest.raises(ConfigError, match=r"base\.py, a _base_ of .*child\.py"):
        load_config(config)


def test_folder_of_the_config(config):
    config.write_text(
        "here = '{{ fileDirname }}'\nname = '{{ fileBasenameNoExtension }}'\nsize = 1\nhome = '{{$NOT_SET:none}}'\n"
    )
    cfg = load_config(config, {"size": 2})
    assert (cfg.here, cfg.name, cfg.size, cfg.home) == (config.parent.as_posix(), "child", 2, "none")
