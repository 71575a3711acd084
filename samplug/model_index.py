"""Find published configs and weights by name in the metafiles beside the configs, and configs of packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from samplug.utils.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).parent
OWN_PACKAGE = "samplug::"  # also for configs of a checkout


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


def packaged_config(name: str, user: str = "") -> Path:
    """Return the file of a config ``PACKAGE::FILE``, MMEngine's form for configs of an installed package.

    Args:
        name: Name of the config.
        user: Text that follows the name in messages, such as ``', a _base_ of my.py,'``.

    Raises:
        ConfigError: The package is not installed, was installed without configs, or has no such file.
    """
    package, _, file = name.partition("::")
    if name.startswith(OWN_PACKAGE):
        folder = root() / "configs"
    else:
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or spec.origin is None:
            raise ConfigError(f"config: {name}{user.rstrip(',')}: the package {package!r} is not installed")
        folder = Path(spec.origin).parent / ".mim" / "configs"
        if not folder.is_dir():
            raise ConfigError(
                f"config: {name}{user.rstrip(',')}: {package} is installed without its configs (no {folder}): install "
                "its wheel, or give the path of the config in a checkout"
            )
    path = folder / file
    if not path.is_file():
        known = (config.relative_to(folder).as_posix() for config in folder.rglob("*.py"))
        raise ConfigError(f"config: {path}{user} does not exist{did_you_mean(file, known)}")
    return path


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
