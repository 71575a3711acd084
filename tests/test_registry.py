"""The scope is complete and nothing is imported before it is asked for."""

import subprocess
import sys

import pytest
from mmengine import registry as root
from mmengine.registry import Registry

from samplug import registry
from samplug.utils.errors import ConfigError


def test_every_root_has_a_child():
    roots = {name: value for name, value in vars(root).items() if isinstance(value, Registry)}
    children = {name: value for name, value in vars(registry).items() if isinstance(value, Registry)}
    assert children.keys() == roots.keys()
    for name, child in children.items():
        assert child.scope == "samplug"
        assert child.parent is roots[name]


def test_scope_finds_components_without_imports():
    code = (
        "from mmengine.registry import MODELS; "
        "model = MODELS.build(dict(type='samplug.SAMViT', img_size=32, "
        "arch=dict(embed_dims=16, depth=1, num_heads=2, global_attn_indexes=[0]))); print(type(model).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "SAMViT", run.stderr


def test_import_is_light():
    code = "import sys, samplug; print('torch' in sys.modules, 'mmseg' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"], run.stderr


@pytest.mark.parametrize("name", ["SelectionHook", "samplug.SelectionHook"])
def test_an_old_name_says_the_new_one(name):
    for look_up in (registry.HOOKS.get, lambda key: root.HOOKS.build(dict(type=key))):
        with pytest.raises(ConfigError, match="SelectionHook is SplitLeakageHook now"):
            look_up(name)
    assert registry.HOOKS.get("SplitLeakageHook").__name__ == "SplitLeakageHook"


def test_a_component_of_ones_own_may_have_an_old_name():
    hooks = registry._child(root.HOOKS.__class__("hook"))
    hooks.register_module("SelectionHook", module=dict)
    assert hooks.get("SelectionHook") is dict
