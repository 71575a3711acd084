"""Write docs/names.md, a list of public names with signature and summary.

``python docs/list_names.py`` writes the page; a test checks that it is up to date.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Headings and packages.
PACKAGES = (
    ("Predicting and estimating", "samplug.apis"),
    ("Models", "samplug.models"),
    ("Backbones", "samplug.models.backbones"),
    ("Adapters", "samplug.models.adapters"),
    ("Decoders", "samplug.models.decoders"),
    ("Losses", "samplug.models.losses"),
    ("Prompts", "samplug.models.prompts"),
    ("Mask generation", "samplug.generation"),
    ("Datasets", "samplug.datasets"),
    ("Transforms", "samplug.datasets.transforms"),
    ("Annotations", "samplug.converters"),
    ("Scores", "samplug.evaluation.functional"),
    ("Metrics", "samplug.evaluation.metrics"),
    ("Protocols", "samplug.evaluation.protocols"),
    ("Engine", "samplug.engine"),
    ("Hooks", "samplug.engine.hooks"),
    ("Weights", "samplug.checkpoints"),
    ("Pictures", "samplug.visualization"),
)
_HEAD = """# Public names

Names with their arguments and the first line of their description. For the full descriptions build the site
(`make docs`, [API](api.md)), or call `help(NAME)` in Python. Arguments without a default are required.
`python docs/list_names.py` writes this page.
"""


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *(line for heading, package in PACKAGES for line in _section(heading, package))])


def _section(heading: str, package: str) -> Iterator[str]:
    module = importlib.import_module(package)
    yield f"## {heading}\n\n`from {package} import ...`\n\n| name | |\n|---|---|"
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        if callable(value):
            yield f"| `{name}{_arguments(value)}` | {_summary(value)} |"
            if inspect.isclass(value):
                for method, function in _methods(value):
                    yield f"| `.{method}{_arguments(function)}` | {_summary(function)} |"
    yield ""


def _methods(owner: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods with a docstring that a class defines."""
    for name, value in vars(owner).items():
        function = getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, function


def _arguments(function: Any) -> str:
    """Return ``(images, tap=None)``: names and defaults, without types."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    text = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    text = re.sub(r"<[^<>]*(?:function|class|object) '?([\w.]+)[^<>]*>", lambda match: match[1].split(".")[-1], text)
    return text.replace("<factory>", "...").replace("|", "\\|")


def _summary(value: Any) -> str:
    """Return the first sentence of a docstring in Markdown."""
    text = inspect.getdoc(value) or ""
    text = " ".join(text.split("\n\n", 1)[0].split())
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].split('.')[-1]}`", text).replace("``", "`")
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("names.md").write_text(page())
