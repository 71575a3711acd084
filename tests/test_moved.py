"""Old names say where they are now."""

import importlib
import importlib.util

import pytest

import samplug  # noqa: F401
from samplug import moved, registry
from samplug.utils.errors import ConfigError


@pytest.mark.parametrize("old", moved.MODULES)
def test_modules(old):
    with pytest.raises(ImportError, match=f"is {moved.MODULES[old]} now"):
        importlib.import_module(old)
    assert importlib.util.find_spec(moved.MODULES[old]) is not None


def test_modules_as_attributes():
    """``from PACKAGE import MODULE`` asks for an attribute first."""
    with pytest.raises(ImportError, match=r"samplug\.imaging\.files"):
        from samplug.datasets import io  # noqa: F401
    with pytest.raises(ImportError, match=r"samplug\.datasets\.nothing"):
        importlib.import_module("samplug.datasets.nothing")


@pytest.mark.parametrize("old", moved.TYPES)
def test_types(old):
    kind = getattr(registry, "HOOKS" if old.endswith("Hook") else "RUNNERS")
    with pytest.raises(ConfigError, match=f"{old} is {moved.TYPES[old]} now"):
        kind.get(old)
    assert kind.get(moved.TYPES[old]) is not None
