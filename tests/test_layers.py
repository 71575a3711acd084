"""Packages import from packages below them only, see docs/design.md."""

import ast

from tests.conftest import ROOT

# Package or module of samplug -> the others that it may import. Each one may import only from rows above it, so there is no circle.
_BASE = {"utils", "moved", "registry", "structures", "version"}
_DATA = {*_BASE, "imaging", "datasets"}
_ENGINE = {
    *_DATA,
    "checkpoints",
    "features",
    "models",
    "generation",
    "evaluation",
    "visualization",
    "config",
    "model_index",
}
MAY_IMPORT = {
    "version": set(),
    "utils": set(),
    "moved": {"utils"},
    "registry": {"utils", "moved"},
    "structures": set(),
    "model_index": {"utils"},
    "config": {"utils", "model_index"},
    "checkpoints": _BASE | {"model_index"},
    "features": {*_BASE, "checkpoints"},
    "models": {*_BASE, "checkpoints", "features"},
    "imaging": _BASE,
    "generation": {*_BASE, "checkpoints", "features", "models", "imaging"},
    "visualization": {*_BASE, "imaging"},
    "datasets": {*_BASE, "imaging"},
    "converters": _DATA,
    "evaluation": _DATA,
    "engine": _ENGINE,
    "apis": {*_ENGINE, "engine"},
    "commands": {*_ENGINE, "engine", "apis", "converters"},
    "__main__": {"commands"},
    "__init__": _BASE,
}


def imported(file):
    """The packages of samplug that a file imports, also within functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((name.split(".")[1], node.lineno) for name in names if name.startswith("samplug."))


def test_rows_have_no_circle():
    above = set()
    for package, allowed in MAY_IMPORT.items():
        assert allowed <= above | {package}, package
        above.add(package)


def test_imports_point_downward():
    wrong = []
    for file in sorted((ROOT / "samplug").rglob("*.py")):
        package = file.relative_to(ROOT / "samplug").parts[0].removesuffix(".py")
        for other, line in imported(file):
            if other != package and other not in MAY_IMPORT[package]:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {other}")
    assert not wrong, "\n".join(wrong)
