"""Rewrite the sources of configs so that variables have new values before anything is computed from them."""

import ast
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config.utils import MODULE2PACKAGE

from samplug.config.keys import RUNNER_KEYS
from samplug.model_index import OWN_PACKAGE, packaged_config
from samplug.utils.errors import ConfigError
from samplug.utils.literals import literal

_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda, ast.FunctionDef, ast.ClassDef)
_COMPOUND = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
# MMEngine's placeholders ({{ fileDirname }}, {{$NAME:default}}) are no Python before it substitutes them.
_PLACEHOLDER = re.compile(r"\{\{\s*(\$[^}]*|file\w+)\s*\}\}")


class _Variable(NamedTuple):
    """A variable that a top-level statement of a config sets."""

    name: str
    value: ast.expr | None  # the expression of this variable alone; None: there is none
    statement: ast.stmt

    @property
    def is_dict(self) -> bool:
        return self.value is not None and _is_dict(self.value)

    @property
    def in_place(self) -> bool:
        """True if the statement sets nothing else, by an expression that can be replaced."""
        targets = self.statement.targets if isinstance(self.statement, ast.Assign) else [None]
        return self.value is not None and len(targets) == 1 and self.value is getattr(self.statement, "value", None)

    @property
    def nested(self) -> bool:
        """True if it is set within ``if``, ``for``, ..., where its value may be used before the statement ends."""
        return isinstance(self.statement, _COMPOUND)


class Rewriter:
    """Copy a chain of configs, and give some of their variables new values.

    Args:
        options: Variables of the command line, by name; their types must be those declared.
        folder: Folder of the copies.

    Attributes:
        dicts: Names of variables that are set to dicts; configs merge these, their assignments are not replaced.
        read: Names of variables that other statements read.
        reads: Config -> names that it reads.
        late: Config -> variables whose values its bases do not get, by name, see :meth:`_check_late`.
        plain: Config -> names that it sets to plain values or dicts of these.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.copies = 0
        self.dicts: set[str] = set()
        self.read: set[str] = set()
        self.reads: dict[Path, set[str]] = {}
        self.late: dict[Path, dict[str, _Variable]] = {}
        self.plain: dict[Path, set[str]] = {}

    def rewrite(
        self,
        path: Path,
        derived: Mapping[str, Any] | None = None,
        hidden: Mapping[str, str] | None = None,
        chain: tuple[Path, ...] = (),
    ) -> Path:
        """Copy one config and, through its ``_base_``, those that it inherits.

        Args:
            path: The config.
            derived: Variables that the configs derived from it set to plain values.
            hidden: Variables that they set within ``if`` or ``for``, where the value is not known -> place.
            chain: The derived configs.
        """
        if path in chain:
            raise ConfigError(f"config: {path} is a _base_ of itself, through {chain[-1]}")
        # Each copy has its own folder, so names (and with them {{ fileBasename }}) stay as they were.
        copy = self.folder / str(self.copies) / path.name
        self.copies += 1
        copy.parent.mkdir()
        source = re.sub(r"\{\{\s*fileDirname\s*\}\}", path.parent.as_posix(), path.read_text(encoding="utf-8"))
        copy.write_text(self._edit(source, path, derived or {}, hidden or {}, (*chain, path)), encoding="utf-8")
        return copy

    def _edit(
        self, source: str, path: Path, derived: Mapping[str, Any], hidden: Mapping[str, str], chain: tuple[Path, ...]
    ) -> str:
        try:
            tree = ast.parse(_PLACEHOLDER.sub(lambda match: "0".ljust(len(match[0])), source), filename=str(path))
        except SyntaxError as error:
            raise ConfigError(f"config: {path} line {error.lineno}: {error.msg}") from error
        variables = [variable for statement in tree.body for variable in _variables(statement)]
        self.dicts |= {variable.name for variable in variables if variable.is_dict}
        self.reads[path] = _names_read(tree)
        self.read |= self.reads[path]
        values = {**derived, **self.options}
        self._check_late({variable.name: variable.value for variable in variables}, chain)
        own, own_hidden = _plain_values(variables, source, path)
        self.plain[path] = set(own)
        self.late[path] = {
            variable.name: variable
            for variable in variables
            if (variable.is_dict or variable.name not in own) and variable.name not in RUNNER_KEYS | {"_base_"}
        }
        lines = io.StringIO(source).readlines()  # str.splitlines takes more characters for line ends than ast
        for variable in reversed(variables):
            name = variable.name
            if name == "_base_":
                if variable.value is None or not variable.in_place or not isinstance(variable.statement, ast.Assign):
                    raise ConfigError(f"config: {path} line {variable.statement.lineno}: write it as _base_ = ...")
                hidden_here = {name: place for name, place in {**own_hidden, **hidden}.items() if name not in values}
                bases = self._bases(variable.value, path, {**own, **derived}, hidden_here, chain)
                _replace(lines, variable.value, repr(bases))
            elif variable.is_dict or (name not in self.options and not _can_replace(values.get(name), variable.value)):
                continue  # dicts are merged
            elif name in values:
                self._set(lines, variable, values[name], path)
            elif name in hidden and not variable.nested:
                raise ConfigError(
                    f"config: {hidden[name]} sets {name} within another statement, which {path} line "
                    f"{variable.statement.lineno}, a _base_, would not see: give it a line of its own"
                )
        return "".join(lines)

    def _check_late(self, declared: Mapping[str, ast.expr | None], chain: tuple[Path, ...]) -> None:
        """Find variables of derived configs that would change nothing: dicts, and values that are computed.

        A base has built its parts from its own value by then. They are fine if a derived config reads them itself.

        Args:
            declared: Variables of a config, with the values that it sets.
            chain: The configs derived from it, and the config itself.
        """
        base = chain[-1]
        for number, path in enumerate(chain[:-1]):
            by_itself = set().union(*(self.reads[derived] for derived in chain[: number + 1]))
            by_bases = set().union(*(self.reads[file] for file in chain[number + 1 :]))
            for name in sorted((declared.keys() & by_bases & self.late[path].keys()) - by_itself):
                variable = self.late[path][name]
                if variable.nested:
                    continue  # has an error of its own
                if variable.is_dict and name in self.plain[path] and _can_replace({}, declared[name]):
                    continue  # replaces a plain value of the base, as mask_values = dict(...)
                what, remedy = "a computed value", "write a plain value"
                if variable.is_dict:
                    what, remedy = "a dict", f"set what {name} is made of as variables, such as mask_values = ..."
                raise ConfigError(
                    f"config: {path} line {variable.statement.lineno} sets {name} to {what}, which changes nothing: "
                    f"{base} has used its own {name} by then; {remedy}, or set the keys where it ends, such as "
                    "train_dataloader = dict(dataset=dict(...))"
                )

    def _set(self, lines: list[str], variable: _Variable, value: Any, path: Path) -> None:
        """Give a variable a new value in the source lines of its config."""
        name, statement = variable.name, variable.statement
        if variable.nested:
            raise ConfigError(
                f"config: {path} line {statement.lineno} sets {name} within another statement, where neither the "
                "command line nor a derived config could replace it: give it a line of its own"
            )
        if name in self.options and variable.value is not None:
            _check_type(name, value, variable.value, path)
        if variable.in_place and variable.value is not None:
            _replace(lines, variable.value, repr(value))
        else:
            _append(lines, statement, f"; {name} = {value!r}")

    def _bases(
        self,
        value: ast.expr,
        path: Path,
        variables: Mapping[str, Any],
        hidden: Mapping[str, str],
        chain: tuple[Path, ...],
    ) -> list[str]:
        try:
            bases = ast.literal_eval(value)
        except ValueError as error:
            raise ConfigError(f"config: {path}: _base_ must be a file name or a list of file names") from error
        result = []
        for base in [bases] if isinstance(bases, str) else bases:
            user = f", a _base_ of {path},"
            file = (packaged_config(base, user) if "::" in base else path.parent / base).resolve()
            if not file.is_file():
                raise ConfigError(f"config: {file}{user} does not exist")
            if "::" in base and not base.startswith(OWN_PACKAGE):  # MMEngine builds its parts in the package's scope
                # MMEngine looks up the distribution, whose name may differ (onedl-mmsegmentation).
                package = base.partition("::")[0]
                MODULE2PACKAGE[package] = package
                result.append(base)
                continue
            copy = self.rewrite(file, variables, hidden, chain) if file.suffix == ".py" else file
            result.append(str(copy))
        return result


def _variables(statement: ast.stmt) -> Iterator[_Variable]:
    """Yield the variables that a top-level statement sets, in any form.

    Forms are ``a = 1``, ``a: int = 1``, ``a = b = 1``, ``a, b = 1, 2``, ``a += 1``, and all these within ``if``,
    ``for``, ...
    """
    known: list[ast.expr] = []
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            for name, value in _pairs(target, statement.value):
                known.append(name)
                yield _Variable(name.id, value, statement)
    for node in _outside_scopes(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in known:
            yield _Variable(node.id, None, statement)


def _pairs(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[ast.Name, ast.expr | None]]:
    """Yield the names of a target with their expressions, where each has one of its own."""
    if isinstance(target, ast.Name):
        yield target, value
        return
    parts, values = getattr(target, "elts", []), getattr(value, "elts", [])
    if len(parts) == len(values) and not any(isinstance(element, ast.Starred) for element in parts + values):
        for part, element in zip(parts, values, strict=True):
            yield from _pairs(part, element)


def _outside_scopes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all below it, without functions, classes and comprehensions, which have names of their own."""
    if not isinstance(node, _SCOPES):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from _outside_scopes(child)


def _names_read(tree: ast.Module) -> set[str]:
    """Return the names of variables that a config reads, its own and its bases': ``name``, ``_base_.name``.

    ``files = dict(**_base_.files, check='all')`` reads ``files`` for nothing else.
    """
    found: set[str] = set()
    for statement in tree.body:
        nodes = list(ast.walk(statement))
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        bases = (node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name))
        names |= {node.attr for node in bases if node.value.id == "_base_"}  # type: ignore[attr-defined]
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        found |= names - {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def _plain_values(variables: list[_Variable], source: str, path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Find the variables whose last assignment in a config is a plain value, and those set within another statement.

    Variables that are computed or contain a placeholder are left out: bases keep their own values.

    Returns:
        Name -> value, and name -> place of the statement.
    """
    values: dict[str, Any] = {}
    hidden: dict[str, str] = {}
    for name, node, statement in variables:
        values.pop(name, None)  # the last assignment counts
        hidden.pop(name, None)
        if isinstance(statement, _COMPOUND):
            hidden[name] = f"{path} line {statement.lineno}"
        if node is None or name == "_base_":
            continue
        if not _PLACEHOLDER.search(ast.get_source_segment(source, node) or ""):
            with suppress(ValueError):
                values[name] = literal(node)
    return values, hidden


def _can_replace(value: Any, declared: ast.expr | None) -> bool:
    """Return False for a dict unless a base declares a plain value: other declarations may be dicts, to be merged."""
    if not isinstance(value, dict):
        return True
    try:
        return declared is not None and not isinstance(literal(declared), dict)
    except ValueError:
        return False


def _is_dict(value: ast.expr) -> bool:
    is_call = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict"
    return is_call or isinstance(value, ast.Dict)


def _replace(lines: list[str], node: ast.expr, replacement: str) -> None:
    """Replace a node's source text; ast counts columns in utf-8 bytes."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    head = lines[first].encode()[: node.col_offset].decode()
    tail = lines[last].encode()[node.end_col_offset :].decode()
    lines[first : last + 1] = [head + replacement + tail]


def _append(lines: list[str], node: ast.stmt, text: str) -> None:
    """Insert text behind a statement."""
    last = (node.end_lineno or node.lineno) - 1
    head = lines[last].encode()[: node.end_col_offset].decode()
    lines[last] = head + text + lines[last][len(head) :]


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
    if isinstance(old, str) and isinstance(new, dict):  # mask_values is the name of a rule, or a rule
        return
    raise ConfigError(
        f"config: {name}={new!r} on the command line is {type(new).__name__}, but {path} line {declared.lineno} "
        f"declares {name} = {old!r} ({type(old).__name__})"
    )
