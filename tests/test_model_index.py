"""Names of models, from a checkout and from a wheel."""

import subprocess
import sys
import zipfile

import pytest
import torch

from samplug import model_index
from samplug.config import load_config
from samplug.model_index import names, resolve
from samplug.models.backbones.dinov2_vit import DINOV2_ARCHS
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT

COD = "ts-sam_sam-vit-b_4xb2-80e_cod-1024"


def test_every_entry_is_whole():
    assert COD in names()
    for name in names():
        model = resolve(name)
        assert model.name == name
        assert model.config or model.weights
        if model.config:
            assert model.config.is_file()
            assert model.config.stem == name
        assert all(resolve(need).weights for need in model.needs)


def test_encoders():
    """The digits in a file's name are the beginning of its md5, and its size is that of its float32 parameters."""
    for name in ("sam-vit-b", "sam-vit-l", "sam-vit-h"):
        model = resolve(name)
        assert model.weights.endswith(f"_{model.metadata['MD5 Prefix']}.pth")
        assert model.metadata["File Size"] == pytest.approx(4 * model.metadata["Parameters"], rel=1e-3)


def test_encoders_of_sam2():
    """Sizes are those of float32 parameters, and of their names in a zip archive."""
    for size, part in (("t", "tiny"), ("s", "small"), ("b-plus", "base_plus"), ("l", "large")):
        model = resolve(f"sam2.1-hiera-{size}")
        assert model.weights.endswith(f"/sam2.1_hiera_{part}.pt")
        assert model.metadata["File Size"] == pytest.approx(4 * model.metadata["Parameters"], rel=2e-3)


def test_encoders_of_clip():
    """Each is what the base config of its name starts from; of a whole model with the text part in float32."""
    for size in ("b32", "b16", "l14"):
        model = resolve(f"clip-vit-{size}")
        config = load_config(str(ROOT / f"configs/_base_/models/clip-vit-{size}.py"))
        assert model.weights == config.model.backbone.init_cfg.checkpoint
        assert config.model.backbone.arch == f"vit_{size}"
        assert model.metadata["File Size"] == 4 * model.metadata["Parameters"]


@pytest.mark.parametrize("arch", DINOV2_ARCHS)
def test_encoders_of_dinov2(arch):
    """Their addresses are those of the base config, which computes them from ``arch``."""
    model = resolve(f"dinov2-{arch.replace('_', '-')}")
    cfg = load_config(ROOT / "configs/_base_/models/dinov2.py", {"arch": arch})
    assert cfg.model.backbone.init_cfg.checkpoint == model.weights
    with torch.device("meta"):
        encoder = MODELS.build(cfg.model.backbone)
    # The file also holds the mask token.
    held = sum(parameter.numel() for parameter in encoder.parameters()) + encoder.embed_dims
    assert model.metadata["Parameters"] == held
    assert model.metadata["File Size"] == 4 * held


def test_a_name_is_a_config():
    assert load_config(COD, {"img_size": 512}).filename == str(ROOT / f"configs/tssam/{COD}.py")


def test_every_config_is_loaded_by_its_name():
    """Of SAM 2.1 they hold a dot."""
    for name in names():
        if (config := resolve(name).config) is not None:
            assert load_config(name).filename == str(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ts-sam_vit-b_4xb2_cod", f"did you mean {COD}"),
        ("sam-vit-b", "name of weights, and has no config"),
        ("configs", "is no file and no model's name; samplug download --list"),
        (f"{COD}.py", "does not exist"),
        (f"configs/{COD}", "does not exist"),
    ],
)
def test_other_names(name, message):
    with pytest.raises(ConfigError, match=message):
        load_config(name)


def test_a_wheel_carries_what_names_need(wheel, own_files, tmp_path):
    files = [name for name in own_files if not name.startswith(("tests/", "docs/"))]
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    carried = [name for name in files if name.startswith(("configs/", "projects/", "tools/", "model-index.yml"))]
    assert len(carried) > 30
    assert held >= {f"samplug/.mim/{name}" for name in carried}
    assert held >= {name for name in files if name.startswith("samplug/")}

    # Imported from there, the package finds its own copies.
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "installed")!r})
from samplug.config import load_config
from samplug.model_index import root
print(root())
print(load_config({COD!r}, dict(img_size=512)).filename)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True)
    mim = tmp_path / "installed/samplug/.mim"
    assert run.stdout.splitlines() == [str(mim), str(mim / f"configs/tssam/{COD}.py")], run.stderr[-2000:]


def test_a_checkout_is_its_own_root():
    assert model_index.root() == ROOT
