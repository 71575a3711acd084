"""Evaluate Python literals without executing code."""

import ast
from typing import Any


def literal(node: ast.expr) -> Any:
    """Evaluate an expression of constants, lists, tuples, dicts and calls of ``dict`` with keyword arguments.

    Raises:
        ValueError: The expression is anything else.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if any(word.arg is None for word in node.keywords):
            raise ValueError("**")
        return {word.arg: literal(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {literal(key): literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.List | ast.Tuple):
        values = [literal(element) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if not isinstance(node, ast.Constant | ast.UnaryOp):
        raise ValueError(ast.unparse(node))
    return ast.literal_eval(node)
