"""Old names of modules and components, with their new names."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

from samplug.utils.errors import ConfigError

_Init = TypeVar("_Init", bound=Callable[..., None])

_COMMANDS = (
    "analyze_clicks", "analyze_logs", "check_data", "download", "evaluate_masks", "quickstart", "run_logs",
)  # fmt: skip
MODULES = {
    **{f"samplug.apis.{name}": f"samplug.commands.{name}" for name in _COMMANDS},
    "samplug.apis.browse": "samplug.commands.sample_pictures",
    "samplug.apis.export_onnx": "samplug.commands.prompt_decoder_onnx",
    "samplug.apis.export_weights": "samplug.commands.published_weights",
    "samplug.apis.hub_models": "samplug.checkpoints.hub_models",
    "samplug.apis.predict": "samplug.commands.folder_predictions",
    "samplug.apis.prepare_data": "samplug.converters",
    "samplug.apis.rasters": "samplug.imaging.rasters",
    "samplug.apis.session_pictures": "samplug.commands.interaction_pictures",
    "samplug.apis.sources": "samplug.imaging.sources",
    "samplug.apis.tiles": "samplug.imaging.tiles",
    "samplug.datasets.checked": "samplug.datasets.base",
    "samplug.datasets.converters": "samplug.converters",
    "samplug.datasets.decoding": "samplug.imaging.decoding",
    "samplug.datasets.draws": "samplug.datasets.seeding",
    "samplug.datasets.index": "samplug.datasets.scan_cache",
    "samplug.datasets.instances": "samplug.datasets.instance_seg",
    "samplug.datasets.io": "samplug.imaging.files",
    "samplug.engine.base_runner": "samplug.engine.runner",
    "samplug.engine.building": "samplug.engine.build_errors",
    "samplug.engine.cli": "samplug.commands.common",
    "samplug.engine.failures": "samplug.engine.run_errors",
    "samplug.engine.hooks.record": "samplug.engine.hooks.run_record",
    "samplug.engine.hooks.failure": "samplug.engine.hooks.on_failure",
    "samplug.engine.hooks.selection": "samplug.engine.hooks.split_leakage",
    "samplug.engine.sharded": "samplug.engine.fsdp",
    "samplug.engine.state": "samplug.engine.resume_state",
    "samplug.evaluation.clicks": "samplug.evaluation.protocols.clicks",
    "samplug.evaluation.rules": "samplug.evaluation.directions",
    "samplug.evaluation.workers": "samplug.evaluation.scoring_pool",
    "samplug.models.decoders.prompted": "samplug.models.decoders.base",
    "samplug.models.frames": "samplug.models.input_geometry",
    "samplug.models.prompts.given": "samplug.models.prompts.structures",
    "samplug.models.sessions": "samplug.models.interaction",
    "samplug.models.test_time": "samplug.models.tta",
    "samplug.utils.foreground": "samplug.utils.model_outputs",
    "samplug.utils.options": "samplug.commands.options",
}
# Registered types that have another name now; registries name the new one when a config asks for the old one.
TYPES = {
    "SelectionHook": "SplitLeakageHook",
    "ShardedRunner": "SamplugRunner",
}


class _MovedModules:
    """Finder that names the new module when an old one is imported; it is asked last, for names that do not exist."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        for old, new in MODULES.items():
            if name == old or name.startswith(f"{old}."):
                raise ImportError(f"{old} is {new} now: import it from there", name=name)
        return None


def install() -> None:
    """Make imports of old names raise errors that name the new ones."""
    if not any(isinstance(finder, type) and finder.__name__ == "_MovedModules" for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules)


def renamed_arguments(**new_names: str) -> Callable[[_Init], _Init]:
    """Decorate an ``__init__`` so that the old name of an argument raises an error with the new one (``old='new'``)."""

    def decorate(init: _Init) -> _Init:
        @wraps(init)
        def checked(self: object, *args: Any, **kwargs: Any) -> None:
            for old, new in new_names.items():
                if old in kwargs:
                    raise ConfigError(
                        f"{type(self).__name__}: {old}={kwargs[old]!r} is {new}={kwargs[old]!r} now: rename the key"
                    )
            init(self, *args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate
