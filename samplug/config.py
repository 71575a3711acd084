"""Loading configs so that the values of declared variables reach everything that is computed from them.

MMEngine merges ``--cfg-options`` after a config was evaluated: with ``img_size = 1024`` and ``model = dict(img_size=img_size)``,
``--cfg-options img_size=512`` changes the variable and leaves the model at 1024. So does a derived config that says
``img_size = 512``. Here the assignment itself gets the new value, in whichever file of the ``_base_`` chain it stands, before
anything is evaluated: the command line's, or else that of the most derived config that assigns a plain value.
"""

import ast
import inspect
import io
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from samplug.model_index import resolve, root
from samplug.utils.errors import ConfigError, did_you_mean

# Keys that a Runner reads and a config need not declare.
RUNNER_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) | {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "runner_type",
    "strategy",
    "sync_bn",
    "tta_model",
    "tta_pipeline",
}
_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda, ast.FunctionDef, ast.ClassDef)
_SUFFIXES = (".py", ".json", ".yaml", ".yml")
# MMEngine's form for configs of an installed package; here it names those of a checkout too.
_OWN_PACKAGE = "samplug::"
# MMEngine's placeholders ({{ fileDirname }}, {{$NAME:default}}) are no Python before it substitutes them.
_PLACEHOLDER = re.compile(r"\{\{\s*(\$[^}]*|file\w+)\s*\}\}")


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config file and apply command-line options.

    Args:
        path: A text-style Python config, json or yaml, or a name of :func:`samplug.model_index.names`. A variable that a Python
            config sets to a plain value (numbers, strings, None, lists and tuples of them) has that value in its bases too,
            except in those of other packages (``mmseg::...``). ``samplug::_base_/default_runtime.py`` is samplug's own from anywhere.
        options: Dotted keys and values of ``--cfg-options``. An undotted key that the config (or a base) declares as a plain
            variable replaces the declared value; every key is merged afterwards as MMEngine does.

    Raises:
        ConfigError: No such file or name; a new top-level key that nothing declares and no Runner reads (a typing error), a value
            of another type than the declared variable, or a dict that is to be merged into something else.
    """
    path = _find(path)
    options = dict(options or {})
    if path.suffix != ".py" or Config._is_lazy_import(str(path)):
        cfg = Config.fromfile(path)
    else:
        variables = {key: value for key, value in options.items() if "." not in key}
        with tempfile.TemporaryDirectory() as folder:
            copy = _Rewriter(variables, Path(folder)).rewrite(path.resolve())
            try:
                cfg = Config.fromfile(copy)
            except TypeError as error:
                if "cannot inherit from base" not in str(error):
                    raise
                raise ConfigError(f"config: {path}: {error}") from error
        object.__setattr__(cfg, "_filename", str(path))
    _check_names(cfg, options, path)
    if options:
        cfg.merge_from_dict(options)
    return cfg


def _find(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if file.is_file():
        return file
    # Names may hold a dot (sam2.1): only a suffix of a config says that a file is meant.
    if file.suffix in _SUFFIXES or len(file.parts) != 1:
        raise ConfigError(f"config: {file} does not exist")
    model = resolve(str(path))
    if model.config is None:
        raise ConfigError(f"config: {model.name} is the name of weights, and has no config")
    return model.config


class _Rewriter:
    """Copies a chain of configs, with the assignments of some variables given new values.

    Args:
        options: Variables of the command line, by name; their types must be those declared.
        folder: Where the copies go.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.copies = 0

    def rewrite(self, path: Path, derived: Mapping[str, Any] | None = None, chain: tuple[Path, ...] = ()) -> Path:
        """The copy of one config and, through its ``_base_``, of those that it inherits.

        Args:
            path: The config.
            derived: Variables that the configs derived from it set.
            chain: These configs.
        """
        if path in chain:
            raise ConfigError(f"config: {path} is a _base_ of itself, through {chain[-1]}")
        # Own folder for each copy: names (and with them {{ fileBasename }}) stay as they were.
        copy = self.folder / str(self.copies) / path.name
        self.copies += 1
        copy.parent.mkdir()
        source = re.sub(r"\{\{\s*fileDirname\s*\}\}", path.parent.as_posix(), path.read_text(encoding="utf-8"))
        copy.write_text(self._edit(source, path, derived or {}, (*chain, path)), encoding="utf-8")
        return copy

    def _edit(self, source: str, path: Path, derived: Mapping[str, Any], chain: tuple[Path, ...]) -> str:
        try:
            tree = ast.parse(_PLACEHOLDER.sub(lambda match: "0".ljust(len(match[0])), source), filename=str(path))
        except SyntaxError as error:
            raise ConfigError(f"config: {path} line {error.lineno}: {error.msg}") from error
        assignments = [assignment for node in tree.body if (assignment := _assignment(node))]
        for name, line in _set_otherwise(tree):
            if name in self.options:
                raise ConfigError(
                    f"config: {path} line {line} sets {name} otherwise than by a plain {name} = value, which the command line could not replace: "
                    f"give it a line of its own"
                )
        values = {**derived, **self.options}
        edits: list[tuple[ast.expr, str]] = []
        for name, value in assignments:
            if name == "_base_":
                bases = self._bases(value, path, {**_plain_values(assignments, source), **derived}, chain)
                edits.append((value, repr(bases)))
            elif name in values and not _is_dict(value):
                if name in self.options:
                    _check_type(name, values[name], value, path)
                edits.append((value, repr(values[name])))
        lines = io.StringIO(source).readlines()  # str.splitlines takes more characters for ends than ast
        for value, replacement in reversed(edits):
            _replace(lines, value, replacement)
        return "".join(lines)

    def _bases(self, value: ast.expr, path: Path, variables: Mapping[str, Any], chain: tuple[Path, ...]) -> list[str]:
        try:
            bases = ast.literal_eval(value)
        except ValueError as error:
            raise ConfigError(f"config: {path}: _base_ must be a file name or a list of file names") from error
        result = []
        for base in [bases] if isinstance(bases, str) else bases:
            if "::" in base and not base.startswith(_OWN_PACKAGE):  # a config of another package
                result.append(base)
                continue
            own = base.startswith(_OWN_PACKAGE)
            file = (root() / "configs" / base.removeprefix(_OWN_PACKAGE) if own else path.parent / base).resolve()
            if not file.is_file():
                raise ConfigError(f"config: {file}, a _base_ of {path}, does not exist")
            result.append(str(self.rewrite(file, variables, chain)) if file.suffix == ".py" else str(file))
        return result


def _assignment(node: ast.AST) -> tuple[str, ast.expr] | None:
    """Name and value of ``name = value``; None for any other statement."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    return None


def _set_otherwise(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Names, and their lines, that other statements of a config set: ``a = b = 1``, ``a, b = 1, 2``, ``a *= 2``, within ``if`` and ``for``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id, child.lineno
        elif not isinstance(child, _SCOPES) and not (isinstance(node, ast.Module) and _assignment(child)):
            yield from _set_otherwise(child)


def _plain_values(assignments: Iterable[tuple[str, ast.expr]], source: str) -> dict[str, Any]:
    """The variables that a config leaves at a plain value: not computed, not merged as dicts are, no placeholder in it."""
    values: dict[str, Any] = {}
    for name, node in assignments:
        values.pop(name, None)  # the last assignment counts
        if name == "_base_" or _is_dict(node) or _PLACEHOLDER.search(ast.get_source_segment(source, node) or ""):
            continue
        with suppress(ValueError):
            values[name] = ast.literal_eval(node)
    return values


def _is_dict(value: ast.expr) -> bool:
    is_call = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict"
    return is_call or isinstance(value, ast.Dict)


def _replace(lines: list[str], node: ast.expr, replacement: str) -> None:
    """Replace a node's source text; ast counts columns in utf-8 bytes."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    head = lines[first].encode()[: node.col_offset].decode()
    tail = lines[last].encode()[node.end_col_offset :].decode()
    lines[first : last + 1] = [head + replacement + tail]


def _check_type(name: str, new: Any, declared: ast.expr, path: Path) -> None:
    try:
        old = ast.literal_eval(declared)
    except ValueError:
        return  # computed: any value may replace it
    if old is None or new is None or isinstance(new, type(old)):
        return
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        return
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return
    raise ConfigError(
        f"config: {name}={new!r} on the command line is {type(new).__name__}, but {path} line {declared.lineno} declares "
        f"{name} = {old!r} ({type(old).__name__})"
    )


def _check_names(cfg: Config, options: Mapping[str, Any], path: Path) -> None:
    for key in options:
        top = key.split(".")[0]
        if top in cfg or top in RUNNER_KEYS:
            continue
        hint = did_you_mean(top, [*cfg.keys(), *RUNNER_KEYS])
        raise ConfigError(f"config: {path} declares no {top!r} (from --cfg-options {key}=...){hint}")
