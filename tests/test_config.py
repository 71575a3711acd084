"""Command-line values reach everything that is built from a variable."""

import inspect
import re

import pytest
from mmengine.runner import Runner

from samplug.config import RUNNER_KEYS, load_config
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT

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
    cfg = load_config(config, {"model.size": 16, "train_cfg": None, "load_from": "w.pth", "pipeline.0.type": "Crop",
                               "overwrite_work_dir": True})  # fmt: skip
    assert cfg.model.size == 16
    assert cfg.train_cfg is None
    assert cfg.load_from == "w.pth"
    assert cfg.overwrite_work_dir
    assert cfg.pipeline[0].type == "Crop"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sizes": 1}, "declares no 'sizes'.*did you mean size"), ({"size": "big"}, r"base\.py line 2 declares size = 64"),
     ({"modle.size": 1}, "did you mean model")],
)  # fmt: skip
def test_mistakes_are_named(config, options, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config, options)


FORMS = ["size = 64; pass", "size: int = 64", "width = size = 64", "size, width = 64, 2", "(width, (size, other)) = (2, (64, 3))",
         "size = 64\nsize *= 2", "size = [\n    64,\n][0]  # ends on another line", "print(size := 64)"]  # fmt: skip


@pytest.mark.parametrize("text", FORMS)
def test_the_command_line_replaces_every_form_of_assignment(tmp_path, text):
    config = tmp_path / "config.py"
    config.write_text(f"names = [size for size in 'ab']\n{text}\nafter = size\nmodel = dict(size=size, after=after)\n")
    cfg = load_config(config, {"size": 32})
    assert (cfg.size, cfg.model) == (32, dict(size=32, after=32))
    assert cfg.get("width", 64) in (64, 2)  # the others keep theirs
    assert load_config(config, {"names": []}).model.size in (64, 128)


@pytest.mark.parametrize("text", FORMS[:5])
def test_a_derived_config_reaches_its_bases_by_every_form(tmp_path, text):
    (tmp_path / "base.py").write_text("size = 8\nmodel = dict(size=size)\n")
    (tmp_path / "config.py").write_text(f"_base_ = './base.py'\n{text}\n")
    assert load_config(tmp_path / "config.py").model.size == 64


@pytest.mark.parametrize("text", FORMS)
def test_a_derived_config_replaces_every_form_in_its_bases(tmp_path, text):
    (tmp_path / "base.py").write_text(f"{text}\nmodel = dict(size=size)\n")
    (tmp_path / "config.py").write_text("_base_ = './base.py'\nsize = 8\n")
    assert load_config(tmp_path / "config.py").model.size == 8


@pytest.mark.parametrize("text", ["if True:\n    size = 64", "for size in (32, 64):\n    pass"])
def test_variables_set_within_other_statements_are_named(tmp_path, text):
    (tmp_path / "nested.py").write_text(f"{text}\nmodel = dict(size=size)\n")
    (tmp_path / "derived.py").write_text("_base_ = './nested.py'\nsize = 8\n")
    for name, options in (("nested.py", {"size": 32}), ("derived.py", {})):
        with pytest.raises(ConfigError, match=r"nested\.py line 1 sets size within another statement"):
            load_config(tmp_path / name, options)
    (tmp_path / "base.py").write_text("size = 8\nmodel = dict(size=size)\n")
    (tmp_path / "nested.py").write_text(f"_base_ = './base.py'\n{text}\n")
    with pytest.raises(
        ConfigError, match=r"nested\.py line 2 sets size within.*base\.py line 1, a _base_, would not see"
    ):
        load_config(tmp_path / "nested.py")


def test_bases_in_another_form(tmp_path):
    (tmp_path / "config.py").write_text("_base_: str = './base.py'\n")
    with pytest.raises(ConfigError, match=r"config\.py line 1: write it as _base_ ="):
        load_config(tmp_path / "config.py")


def test_overrides_that_reach_nothing(tmp_path):
    """Of dicts and lists that were read before they are changed; of the variables of other kinds of configs."""
    config = tmp_path / "config.py"
    config.write_text(
        "norm = dict(type='BN')\nsteps = [dict(type='A')]\nmine = dict(a=1)\nmodel = dict(norm=norm, steps=steps)\n"
    )
    for key in ("norm.type", "norm", "steps.0.type"):
        with pytest.raises(
            ConfigError, match=rf"{key}=... would change the variable {key.partition('.')[0]} of .* alone"
        ):
            load_config(config, {key: "B"})
    assert load_config(config, {"steps": []}).model.steps == []
    assert load_config(config, {"mine.a": 2}).mine.a == 2  # code of the user's own may read it
    (tmp_path / "config.json").write_text('{"size": 64, "model": {"size": 64}}')
    with pytest.raises(ConfigError, match=r"size=... would change the variable size of .*config\.json alone"):
        load_config(tmp_path / "config.json", {"size": 32})
    assert load_config(tmp_path / "config.json", {"model.size": 32}).model.size == 32


def test_keys_of_the_runner():
    assert frozenset(inspect.signature(Runner.__init__).parameters) - {"self"} <= RUNNER_KEYS


def test_characters_that_end_no_line(tmp_path):
    config = tmp_path / "config.py"
    config.write_text(
        "# a form feed \f and a separator \u2028 here\nsize = 64\nmodel = dict(size=size)\n", encoding="utf-8"
    )
    assert load_config(config, {"size": 32}).model.size == 32


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


@pytest.fixture
def chain(tmp_path):
    """Three levels; the middle one has two bases."""
    (tmp_path / "data.py").write_text(
        "size = 64\nbatch = 2\npipeline = [dict(scale=(size, size))]\nloader = dict(batch=batch)\n"
    )
    (tmp_path / "schedule.py").write_text(
        "epochs = 80\nlr = 1e-3\noptions = dict(a=1, b=2)\nschedule = dict(end=epochs, lr=lr)\n"
    )
    (tmp_path / "middle.py").write_text(
        "_base_ = ['./data.py', './schedule.py']\nsize = 32\nepochs = 10\nbatch = _base_.batch * 2\n"
        "model = dict(size=size, epochs=_base_.epochs)\nown_loader = dict(batch=batch)\n"
    )
    return tmp_path


def load(folder, text, options=None):
    (folder / "leaf.py").write_text("_base_ = './middle.py'\n" + text)
    return load_config(folder / "leaf.py", options)


def test_a_derived_value_reaches_its_bases(chain):
    cfg = load(chain, "")
    assert cfg.pipeline == [dict(scale=(32, 32))]
    assert cfg.schedule == dict(end=10, lr=1e-3)
    assert cfg.model == dict(size=32, epochs=10)


def test_the_most_derived_value_wins_and_the_command_line_over_it(chain):
    text = "size = 16\nlr = 1\nnew = 'x'\n"
    cfg = load(chain, text)
    assert cfg.pipeline == [dict(scale=(16, 16))]
    assert cfg.schedule == dict(end=10, lr=1)
    assert (cfg.model, cfg.size, cfg.new) == (dict(size=16, epochs=10), 16, "x")
    cfg = load(chain, text, {"size": 8, "epochs": 3, "new": "y"})
    assert cfg.pipeline == [dict(scale=(8, 8))]
    assert (cfg.model, cfg.schedule) == (dict(size=8, epochs=3), dict(end=3, lr=1))
    assert (cfg.size, cfg.new) == (8, "y")


def test_only_plain_values_reach_bases(chain, monkeypatch):
    cfg = load(chain, "")
    assert (cfg.batch, cfg.loader.batch, cfg.own_loader.batch) == (4, 2, 4)  # computed: the base keeps its own
    cfg = load(chain, "options = dict(b=3)\nsize = 5\nsize = _base_.size\nhalf = size / 2\n")
    assert cfg.options == dict(a=1, b=3)
    assert cfg.pipeline == [dict(scale=(32, 32))]
    monkeypatch.setenv("EPOCHS", "7")
    cfg = load(chain, "epochs = '{{$EPOCHS:1}}'\nlr = '{{ fileBasenameNoExtension }}'\nwork_dir = f'{epochs}{lr}'\n")
    assert (cfg.epochs, cfg.lr, cfg.schedule) == ("7", "leaf", dict(end=10, lr=1e-3))


@pytest.mark.parametrize(
    "text",
    [
        "lr = 1e-3 / 4", "epochs = '{{$EPOCHS:1}}'", "size = _base_.size", "batch = _base_.batch + 1",
        "new = 3\nlr = new", "model_size = size = [x for x in (3,)]",
    ],
)  # fmt: skip
def test_a_computed_value_that_reaches_nothing_is_named(chain, text):
    with pytest.raises(ConfigError, match=r"leaf\.py line \d sets \w+ to a computed value, .*write a plain value"):
        load(chain, text + "\n")


@pytest.mark.parametrize("text", ["folder = dict(mask_values='0/1')", "files = dict(check='all')",
                                  "folder = dict(_base_.folder, check='all')"])  # fmt: skip
def test_a_dict_that_reaches_nothing_is_named(tmp_path, text):
    config = tmp_path / "mine.py"
    config.write_text(f"_base_ = 'samplug::_base_/datasets/folders.py'\n{text}\n")
    with pytest.raises(ConfigError, match=r"mine\.py line 2 sets \w+ to a dict, .*as variables, such as mask_values"):
        load_config(config)
    config.write_text(f"{config.read_text()}mine = dict(**{text.partition(' ')[0]})\n")
    assert load_config(config).mine  # it reads the dict itself


def test_a_derived_value_may_be_of_another_type(chain):
    assert load(chain, "size = (8, 4)\nepochs = None\n").schedule.end is None
    with pytest.raises(ConfigError, match=r"epochs='ten' on the command line is str"):
        load(chain, "epochs = None\n", {"epochs": "ten"})


def test_a_config_that_inherits_itself_is_named(chain):
    (chain / "data.py").write_text("_base_ = './leaf.py'")
    with pytest.raises(ConfigError, match=r"leaf\.py is a _base_ of itself, through .*data\.py"):
        load(chain, "")


def test_own_bases_from_anywhere(tmp_path):
    (tmp_path / "mine.py").write_text("_base_ = 'samplug::_base_/datasets/folders.py'\nimg_size = 64\n")
    cfg = load_config(tmp_path / "mine.py")
    assert [step.scale for step in cfg.train_dataloader.dataset.pipeline if "scale" in step] == [(64, 64)]
    (tmp_path / "wrong.py").write_text("_base_ = 'samplug::_base_/folder.py'\n")
    assert load_config("samplug::quickstart.py").filename == str(ROOT / "configs/quickstart.py")
    with pytest.raises(ConfigError, match=r"configs/quick\.py does not exist"):
        load_config("samplug::quick.py")
    with pytest.raises(ConfigError, match=r"configs/_base_/folder\.py, a _base_ of .*wrong\.py, does not exist"):
        load_config(tmp_path / "wrong.py")


def test_a_dict_over_something_else(tmp_path):
    (tmp_path / "base.py").write_text("model = dict(arch='vit_b')\n")
    (tmp_path / "leaf.py").write_text("_base_ = './base.py'\nmodel = dict(arch=dict(depth=2))\n")
    with pytest.raises(ConfigError, match=r"leaf\.py: arch=.*_delete_=True"):
        load_config(tmp_path / "leaf.py")


MMSEG = "mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.backbone.arch", dict(embed_dims=48), r"write dict\(_delete_=True, \.\.\.\)"),
        ("test_evaluator.7.type", "X", "the list has no such index"),
        ("test_evaluator.0", 3, "their elements a key after it"),
        ("test_evaluator.x", 3, "lists take an index"),
    ],
)
def test_options_that_do_not_fit_their_place(key, value, message):
    name = "configs/linear_probe/probe_dinov2-vits14_folders.py"
    with pytest.raises(ConfigError, match=rf"cannot take --cfg-options {key}=\.\.\.: .*{message}"):
        load_config(ROOT / name, {key: value})
    assert (
        load_config(ROOT / name, {"model.backbone.arch": dict(_delete_=True, depth=1)}).model.backbone.arch.depth == 1
    )


def test_a_config_of_another_package(tmp_path):
    """The distribution may have another name; as a base, its components are built in the package's scope."""
    (tmp_path / "derived.py").write_text(f"_base_ = {MMSEG!r}\nmodel = dict(decode_head=dict(num_classes=2))\n")
    derived = load_config(tmp_path / "derived.py", {"model.backbone.depth": 18})
    assert derived.model.decode_head.type == "FCNHead"
    assert (derived.model.decode_head.num_classes, derived.model.backbone.depth) == (2, 18)
    assert derived.model._scope_ == "mmseg"
    assert load_config(MMSEG).model.decode_head.num_classes == 19


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (MMSEG.replace("4xb2", "4xb3"), "does not exist; did you mean fcn/fcn_r50-d8_4xb2-40k"),
        ("mmfoo::a/b.py", "mmfoo::a/b.py.*: the package 'mmfoo' is not installed"),
        ("::b.py", "the package '' is not installed"),
        ("yaml::a/b.py", "yaml is installed without its configs"),
        ("samplug::quickstat.py", "does not exist; did you mean quickstart.py"),
    ],
)
def test_a_config_that_no_package_has(name, message, tmp_path):
    (tmp_path / "derived.py").write_text(f"_base_ = {name!r}\n")
    for config, user in ((name, ""), (tmp_path / "derived.py", "a _base_ of .*derived.py")):
        with pytest.raises(ConfigError, match=message) as error:
            load_config(config)
        assert re.search(user, str(error.value))
