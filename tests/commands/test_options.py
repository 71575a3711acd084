"""What --cfg-options makes of the command line's words."""

import argparse

import pytest

from samplug.commands.options import CfgOptions
from samplug.utils.errors import ConfigError


def read(*words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions)
    return parser.parse_args(["--cfg-options", *words]).cfg_options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("None", None),
        ("/data/my set (2)/Ground Truth", "/data/my set (2)/Ground Truth"),
        ("'a b'", "a b"),
        ("1,2", [1, 2]),
        ("[1, 2]", [1, 2]),
        ("(1,2)", (1, 2)),
        ("[(1,2),a]", [(1, 2), "a"]),
        ("dict(max_norm=1.0)", dict(max_norm=1.0)),
        (
            "[dict(type='EMAHook', momentum=0.01), dict(type='B')]",
            [dict(type="EMAHook", momentum=0.01), dict(type="B")],
        ),
        ("dict(a=dict(b=(1, 'x y')))", dict(a=dict(b=(1, "x y")))),
        ("{'a': [1, -2]}", {"a": [1, -2]}),
        ("dict()", {}),
    ],
)
def test_values(text, value):
    assert read(f"key={text}", "other=1") == {"key": value, "other": 1}


@pytest.mark.parametrize(
    "text", ["dict(a=b)", "dict(a=1", "dict(**x)", "{1, 2}", "dict(a=open('x'))", "dict([('a', 1)])"]
)
def test_what_is_no_value(text):
    with pytest.raises(ConfigError, match="cannot be read"):
        read(f"key={text}")


@pytest.mark.parametrize("words", [["data_root"], ["data_root=a", "b"], ["data_root", "=", "a"]])
def test_words_that_are_no_settings_are_named(words, capsys):
    with pytest.raises(SystemExit):
        read(*words)
    assert f"'{words[-1] if 'data_root=a' in words else words[0]}' is no KEY=VALUE" in capsys.readouterr().err
