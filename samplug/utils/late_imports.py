"""Import transformers only if a config needs it.

MMEngine registers one optimiser of transformers, Adafactor, and for it imports transformers and peft at every start,
which takes longer than importing torch. With the finder of this module, both are imported when a config names it.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import EntryPoint
from importlib.util import find_spec, spec_from_file_location
from types import ModuleType
from typing import Any

_BUILDER = "mmengine.optim.optimizer.builder"


class _Finder:
    """Finder for the module in which MMEngine registers optimisers of other packages."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _BUILDER or find_spec("transformers") is None:
            return None
        found = PathFinder.find_spec(name, path)
        if found is None or not isinstance(found.loader, SourceFileLoader) or found.origin is None:
            return None
        return spec_from_file_location(name, found.origin, loader=_Loader(name, found.origin))


class _Loader(SourceFileLoader):
    """Run the module as if transformers were not installed, then register the optimiser as an entry point."""

    def exec_module(self, module: ModuleType) -> None:
        missing = object()
        imported: Any = sys.modules.get("transformers", missing)
        sys.modules["transformers"] = None  # type: ignore[assignment]  # importing it raises an ImportError
        try:
            super().exec_module(module)
        finally:
            del sys.modules["transformers"]
            if imported is not missing:
                sys.modules["transformers"] = imported
        from mmengine.registry import OPTIMIZERS

        late = {"Adafactor": EntryPoint("Adafactor", "transformers:Adafactor", "optimizers")}
        OPTIMIZERS._module_dict = LateDict({**late, **OPTIMIZERS._module_dict})


class LateDict(dict[str, Any]):
    """Dict whose values may be entry points, imported on lookup."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, EntryPoint):
            value = self[name] = value.load()
        return value


def install() -> None:
    """Install the finder; it has an effect if MMEngine's optimisers are imported later."""
    if not any(isinstance(finder, type) and finder.__qualname__ == _Finder.__qualname__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)
