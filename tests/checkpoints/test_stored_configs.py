"""Configs in checkpoints: MMEngine executes them, so only plain values are read and written."""

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from samplug.checkpoints import UnsafeCheckpointError, drop_code_in_config, read_checkpoint
from samplug.checkpoints.stored_configs import is_plain_config
from samplug.config import load_config
from samplug.engine import SamplugRunner
from tests.conftest import ROOT

CODE = [
    "import os",
    "x = open('y')",
    "x = [i for i in (1,)]",
    "x = ().__class__",
    "def f(): pass",
    "x = {{$UNSET:__import__('os').mkdir('ran')}}",
    "x = '{{$UNSET:'+str(open('ran','w'))+'}}'",
    "a = 1 # {{fileDirname}}",
    "dict = exec\nx = dict('1')",
    "float, a = exec, 1\nx = float('1')",
    "[set] = [exec]\nx = set('1')",
    "a = b = tuple = exec",
    "_base_ = ['other.py']",
    "__builtins__ = {}",
    "x = f'{open}'",
    "x = dict(type=open, file='y', mode='w')",
    "x = dict(**open)",
    "x = 'a' * 10**10",
    "x = 2**10**10",
    "x = list(range(10**12))",
    "x = [*range(10**12)]",
    "x: int = 1",
    "x = 1 if 1 else 2",
    "x = (y := 1)",
    "if 1: x = 1",
    "x = (",
    "x = 1\0",
    "x = " + "(" * 100_000 + ")" * 100_000,
    "x = " + "-" * 100_000 + "1",
    "x = 1\n" * 1_000_000,
]
PLAIN = [
    "model = dict(type='X', sizes=[1, -2], lr=1e-3)\nname = 'a'\n",
    "a = [inf, -inf, nan, None, True, ...]",
    "a = {'x.y': {'z': (1, 2)}}\nb = set()\nc = slice(0, 2)\nd = range(3)\ne = float('inf')",
    "lr = 0.01 * 2 / 8\nb = 1 + 2j\nc = a = b'x'",
    "custom_imports = dict(imports=['samplug'])",
    "'''A text.'''\na = int",
]


def places(text):
    return [
        {"meta": {"config": text}},
        {"meta": {"cfg": text}},
        {"meta": {}, "message_hub": {"runtime_info": {"cfg": text}, "log_scalars": {}}},
    ]


@pytest.mark.parametrize("text", CODE, ids=range(len(CODE)))
def test_a_config_with_code_is_refused(tmp_path, text):
    path = tmp_path / "evil.pth"
    for index, content in enumerate(places(text)[: 3 if len(text) < 1000 else 1]):
        torch.save({**content, "state_dict": {}}, path)
        place = ("meta['config']", "meta['cfg']", "message_hub['runtime_info']['cfg']")[index]
        with pytest.raises(UnsafeCheckpointError) as error:
            read_checkpoint(path)
        assert str(error.value).startswith(f"weights: {path} carries a config with code ({place})")


@pytest.mark.parametrize("text", PLAIN, ids=range(len(PLAIN)))
def test_a_plain_config_is_kept_as_text(tmp_path, text):
    path = tmp_path / "good.pth"
    for content in places(text):
        torch.save({**content, "state_dict": {"a": torch.zeros(1)}}, path)
        read = read_checkpoint(path)
        assert {key: read[key] for key in content} == content


def test_mmengine_reads_what_is_accepted_without_a_call(tmp_path, monkeypatch):
    """MMEngine's own reader reads the accepted texts without calls."""
    monkeypatch.chdir(tmp_path)
    for text in (*PLAIN[:1], *PLAIN[3:4]):
        Config.fromstring(text, ".py")
    for text in CODE[5:7]:  # refused: a text that this reader turns into calls
        try:
            Config.fromstring(text, ".py")
        except Exception:
            continue
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["quickstart.py", "quickstart_folder.py"])
def test_own_configs_are_plain(name):
    assert is_plain_config(load_config(ROOT / "configs" / name).pretty_text)


def test_the_runner_writes_no_config_with_code():
    """The rest of the checkpoint is written, and the run continues."""
    runner = SamplugRunner.__new__(SamplugRunner)
    runner._hooks, runner.logger = [], MMLogger.get_current_instance()
    checkpoint = {"meta": {"cfg": "note = '{{text}}'", "epoch": 1}, "state_dict": {}}
    runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
    assert checkpoint == {"meta": {"epoch": 1}, "state_dict": {}}


def test_configs_with_code_are_left_out_when_a_checkpoint_is_written():
    text = "a = dict(type=print)"
    content = {"meta": {"cfg": text, "epoch": 1}, "message_hub": {"runtime_info": {"cfg": text, "iter": 2}}}
    assert drop_code_in_config(content) == ["meta['cfg']", "message_hub['runtime_info']['cfg']"]
    assert content == {"meta": {"epoch": 1}, "message_hub": {"runtime_info": {"iter": 2}}}
    assert drop_code_in_config({"meta": {"cfg": "a = 1"}, "message_hub": None}) == []
