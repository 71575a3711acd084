"""Names of published configs and weights, as the metafiles beside the configs list them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from samplug.utils.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Model:
    """An entry of a metafile.

    Attributes:
        name: What commands take.
        config: File of the config; None: there are weights only.
        weights: Address of weights that fit the config (or, without one, that others start from); None: there are none.
        needs: Names of the models whose weights the config starts from.
        metadata: The metafile's facts: data sets, numbers of parameters, sizes.
    """

    name: str
    config: Path | None
    weights: str | None
    needs: tuple[str, ...]
    metadata: Mapping[str, Any]

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses of all weights that the name needs, for :func:`samplug.checkpoints.fetch`."""
        own = () if self.weights is None else (self.weights,)
        return (*own, *(source for name in self.needs for source in resolve(name).sources))


def root() -> Path:
    """The folder of ``model-index.yml``, ``configs`` and ``tools``: what the wheel carries, or else the checkout."""
    carried = _PACKAGE / ".mim"
    return carried if carried.is_dir() else _PACKAGE.parent


def names() -> list[str]:
    """All names, in the order of the metafiles."""
    return list(_models())


def resolve(name: str) -> Model:
    """The model of a name.

    Raises:
        ConfigError: There is none; names that look alike are given.
    """
    models = _models()
    if name in models:
        return models[name]
    hint = did_you_mean(name, models, cutoff=0.4)
    raise ConfigError(
        f"config: {name!r} is no file and no model's name{hint or ';'} tools/download.py --list shows all names"
    )


@cache
def _models() -> dict[str, Model]:
    folder = root()
    models: dict[str, Model] = {}
    for metafile in yaml.safe_load((folder / "model-index.yml").read_text(encoding="utf-8"))["Import"]:
        for entry in yaml.safe_load((folder / metafile).read_text(encoding="utf-8"))["Models"]:
            metadata = entry["Metadata"]
            needs = metadata.get("Initial Weights", [])
            models[entry["Name"]] = Model(
                name=entry["Name"],
                config=folder / entry["Config"] if "Config" in entry else None,
                weights=entry.get("Weights"),
                needs=(needs,) if isinstance(needs, str) else tuple(needs),
                metadata=metadata,
            )
    return models
