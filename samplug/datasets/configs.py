"""Find datasets and their pipelines in configs, through whatever wraps them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_WRAPPED = ("dataset", "datasets")  # keys by which wrappers hold other datasets


def datasets_of(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the configs of the datasets that read samples, without their wrappers (``ConcatDataset``, ...).

    Args:
        config: Config of a dataset, a list of them, or None.
    """
    for part in _parts(config):
        if not any(part.get(key) for key in _WRAPPED):
            yield part


def pipelines_of(config: Any) -> Iterator[Any]:
    """Yield all pipelines of a dataset's config, a wrapper's before those inside; see :func:`datasets_of`."""
    for part in _parts(config):
        if part.get("pipeline"):
            yield part["pipeline"]


def with_pipelines(config: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy of a dataset's config with each pipeline replaced by ``change(pipeline)``."""
    if isinstance(config, list | tuple):
        return [with_pipelines(part, change) for part in config]
    if not isinstance(config, Mapping):
        return config
    changed = {key: with_pipelines(config[key], change) for key in _WRAPPED if key in config}
    if config.get("pipeline"):
        changed["pipeline"] = change(config["pipeline"])
    return {**config, **changed}


def step_name(step: Mapping[str, Any]) -> str:
    """Return the class name of a pipeline's step without scope; in pure Python configs ``type`` may be a class."""
    kind = step["type"]
    return getattr(kind, "__name__", str(kind)).rpartition(".")[2]


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, list | tuple):
        for part in config:
            yield from _parts(part)
    elif isinstance(config, Mapping):
        yield config
        for key in _WRAPPED:
            yield from _parts(config.get(key))
