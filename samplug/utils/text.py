"""Format lists and sizes in messages."""

from collections.abc import Iterable, Mapping


def listed(items: Iterable[str], limit: int = 10) -> str:
    """Join the first ``limit`` items: ``a, b and 3 more``."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def listed_lines(problems: Mapping[str, str], limit: int = 20) -> str:
    """Join the first ``limit`` problems, an indented line each: ``  name: problem``; the last line counts the rest."""
    lines = [f"  {name}: {problem}" for name, problem in list(problems.items())[:limit]]
    if len(problems) > limit:
        lines.append(f"  and {len(problems) - limit} more")
    return "\n".join(lines)


def gib(size: float) -> str:
    """Format bytes as GiB, or as MiB if they are few."""
    return f"{size / 2**30:.1f} GiB" if size >= 0.05 * 2**30 else f"{size / 2**20:.0f} MiB"
