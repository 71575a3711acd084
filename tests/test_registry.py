"""The scope is complete and nothing is imported before it is asked for."""

import subprocess
import sys

from mmengine import registry as root
from mmengine.registry import Registry

from samplug import registry


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
