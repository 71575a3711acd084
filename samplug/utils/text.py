"""Shorten lists in messages."""

from collections.abc import Iterable, Mapping


def listed(items: Iterable[str], limit: int = 10) -> str:
    """Join the first ``limit`` items: ``a, b and 3 more``."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def listed_lines(problems: Mapping[str, str] | Iterable[tuple[str, str]], limit: int = 20) -> str:
    """Join the first ``limit`` problems, an indented line each: ``  name: problem``; the last line counts the rest."""
    problems = list(problems.items() if isinstance(problems, Mapping) else problems)
    lines = [f"  {name}: {problem}" for name, problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  and {len(problems) - limit} more")
    return "\n".join(lines)
