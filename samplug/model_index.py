"""Find published configs and weights by name, from the metafiles beside the configs."""

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
        name: Name that commands take.
        config: Config file; None for an entry of weights only.
        weights: Address of weights that fit the config, or that other configs start from; None if there are none.
        needs: Names of the models whose weights the config starts from.
        metadata: Facts of the metafile: datasets, numbers of parameters, sizes.
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
    """Return the folder of ``model-index.yml``, ``configs`` and ``tools``: ``samplug/.mim`` or the checkout."""
    carried = _PACKAGE / ".mim"
    return carried if carried.is_dir() else _PACKAGE.parent


def names() -> list[str]:
    """Return all names, in the order of the metafiles."""
    return list(_models())


def resolve(name: str) -> Model:
    """Return the model of a name.

    Raises:
        ConfigError: There is no such name; similar names are given.
    """
    models = _models()
    if name in models:
        return models[name]
    hint = did_you_mean(name, models, cutoff=0.4)
    raise ConfigError(
        f"config: {name!r} is no file and no model's name{hint or ';'} samplug download --list shows all names"
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
