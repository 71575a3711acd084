"""Check configs that checkpoints store as text: MMEngine executes them, so only plain values are allowed."""

import ast
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from samplug.checkpoints.errors import UnsafeCheckpointError

# Places in which MMEngine's Runner and inferencers look for a config.
_PLACES = (("meta", "config"), ("meta", "cfg"), ("message_hub", "runtime_info", "cfg"))
_CALLS = frozenset({"dict", "list", "tuple", "set", "float", "slice", "range"})
# Names that MMEngine writes as values into the text of a config.
_NAMES = frozenset({"inf", "nan", "bool", "int", "float", "str", "list", "tuple", "dict", "set"})
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_LONGEST = 4_000_000  # characters; parsing takes about a hundred bytes for each


def refuse_code_in_config(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose stored config contains more than assignments of plain values.

    samplug never executes the config, but MMEngine (``Runner.resume``, inferencers) and other tools do.

    Raises:
        UnsafeCheckpointError: The config has imports, calls, placeholders, a ``_base_`` or other statements, or is not
            valid Python.
    """
    for place, owner, key in _stored(checkpoint):
        if not is_plain_config(owner[key]):
            raise UnsafeCheckpointError(
                f"weights: {path} carries a config with code ({place}), not only values; it was not executed and "
                "the file is refused. If you trust the weights, delete that entry and save the file again"
            )


def drop_code_in_config(checkpoint: Mapping[str, Any]) -> list[str]:
    """Remove stored configs that :func:`refuse_code_in_config` would refuse, before a checkpoint is written.

    Returns:
        The places of the removed configs, such as ``meta['cfg']``.
    """
    found = [entry for entry in _stored(checkpoint) if not is_plain_config(entry[1][entry[2]])]
    for _, owner, key in found:
        del owner[key]
    return [place for place, _, _ in found]


def _stored(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, MutableMapping[str, Any], str]]:
    """Yield the place of each stored config, the mapping that holds it, and its key there."""
    for first, *rest, key in _PLACES:
        owner = checkpoint.get(first)
        for name in rest:
            owner = owner.get(name) if isinstance(owner, Mapping) else None
        if isinstance(owner, MutableMapping) and isinstance(owner.get(key), str):
            yield first + "".join(f"[{name!r}]" for name in (*rest, key)), owner, key


def is_plain_config(text: str) -> bool:
    """Return True if a Python config contains only assignments of plain values.

    MMEngine replaces placeholders (``{{$NAME:default}}``) before parsing, so text with double braces is not plain.
    """
    if len(text) > _LONGEST or "{{" in text:
        return False
    try:
        statements = ast.parse(text).body
        return all(_is_assignment(statement) for statement in statements)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # another Python version might accept it
        return False


def _is_assignment(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if not isinstance(statement, ast.Assign):
        return False
    names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
    # If `dict` is reassigned, dict(...) may call anything; `_base_` reads other files.
    named = len(names) == len(statement.targets) and not any(
        name in _CALLS | _NAMES or name == "_base_" or name.startswith("__") for name in names
    )
    return named and _is_value(statement.value)


def _is_value(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant() | None:  # None: the key of ** in a dict
            return True
        case ast.Name(id=name):
            return name in _NAMES
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return all(map(_is_value, parts))
        case ast.Dict(keys=keys, values=values):
            return all(map(_is_value, [*keys, *values]))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            # list(range(10**9)) would fill the memory of the reader.
            nested = any(isinstance(part, ast.Call) for part in args)
            return name in _CALLS and not nested and all(map(_is_value, [*args, *(word.value for word in keywords)]))
        case _:
            return _is_number(node)


def _is_number(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float | complex)
        case ast.Name(id=name):
            return name in ("inf", "nan")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _is_number(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return isinstance(operator, _ARITHMETIC) and _is_number(left) and _is_number(right)
    return False
