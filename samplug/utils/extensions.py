"""Find parts of samplug and of other installed packages by name."""

import ast
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samplug.utils.errors import ConfigError, did_you_mean


class Extensions:
    """Objects by name, imported when they are asked for. Other packages add theirs through an entry point group.

    Args:
        kind: The word for one of them in messages, such as ``'command'``.
        group: Entry point group that other packages use. A name of samplug's own cannot be replaced.
        own: Name -> ``'module'`` or ``'module:attribute'``.
        description: Purpose of the objects, used as docstring.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], description: str = "") -> None:
        self.kind = kind
        self.group = group
        self.__doc__ = description
        self._own = {name: EntryPoint(name, place, group) for name, place in own.items()}

    def __iter__(self) -> Iterator[str]:
        """Yield all names, samplug's own first."""
        yield from self._all()

    def load(self, name: str) -> Any:
        """Import and return the object of a name.

        Raises:
            ConfigError: There is no such name; similar ones are given.
        """
        entry = self._own.get(name) or self._all().get(name)
        if entry is None:
            known = list(self)
            hint = did_you_mean(name, known, cutoff=0.4) or f"; there are {', '.join(known)}"
            raise ConfigError(f"no {self.kind} is called {name!r}{hint}")
        return entry.load()

    def summary(self, name: str) -> str:
        """Return the first docstring line of an object, or the import error of another package's object.

        Modules of samplug are parsed instead of imported, so that lists of commands appear at once.
        """
        own = self._own.get(name)
        if own is not None and not own.attr:
            text = _docstring(own.module)
        else:
            try:
                text = self.load(name).__doc__
            except Exception as error:
                if own is not None:
                    raise
                return f"(cannot be imported: {error})"
        return (text or "").strip().partition("\n")[0].rstrip(".")

    def _all(self) -> dict[str, EntryPoint]:
        others = {entry.name: entry for entry in entry_points(group=self.group)}
        return {**self._own, **{name: others[name] for name in sorted(others.keys() - self._own.keys())}}


def _docstring(module: str) -> str | None:
    """Return the docstring of a module without importing it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return ast.get_docstring(ast.parse(Path(spec.origin).read_bytes()))
