"""Add remedies to errors about missing weight files of a config."""

from collections.abc import Iterator, Mapping
from typing import Any

from samplug.checkpoints.errors import WeightsError

_NOT_THERE = ("does not exist", "could not be downloaded")
_QUICKSTART = "quickstart_results/"  # folder that `make quickstart` writes, with weights for small configs


def with_remedy(error: WeightsError, cfg: Mapping[str, Any]) -> WeightsError:
    """Add the setting for another weight file to an error; return other errors unchanged.

    Args:
        error: Error from reading a weight file.
        cfg: Config that names the weight file.
    """
    text = str(error)
    if not any(sign in text for sign in _NOT_THERE):
        return error
    if _QUICKSTART in text:
        remedy = "; `make quickstart` writes it"
    elif places := list(dict.fromkeys(_places(cfg, text))):
        remedy = f"; name another file with --cfg-options {' '.join(f'{place}=FILE' for place in places[:2])}"
    else:
        return error
    return error if text.endswith(remedy) else type(error)(text + remedy)


def _places(cfg: Mapping[str, Any], text: str) -> Iterator[str]:
    """Yield the config variables whose value occurs in a text, or else the dotted keys of its model."""
    variables = [name for name, value in cfg.items() if _names(value, text) and name != "load_from"]
    yield from variables or _within(cfg.get("model"), "model", text)


def _within(value: Any, place: str, text: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _within(part, f"{place}.{key}", text)
    elif _names(value, text):
        yield place


def _names(value: Any, text: str) -> bool:
    return isinstance(value, str) and "/" in value and value.partition("#")[0] in text
