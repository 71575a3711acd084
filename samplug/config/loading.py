"""Load a config file and apply the options of the command line."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from samplug.config.keys import RUNNER_KEYS, check_names
from samplug.config.rewriting import Rewriter
from samplug.model_index import packaged_config, resolve
from samplug.utils.errors import ConfigError

_SUFFIXES = (".py", ".json", ".yaml", ".yml")


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config file and apply command-line options.

    Args:
        path: A text-style Python, JSON or YAML config; ``PACKAGE::FILE``, a file of the ``configs`` folder of samplug
            or of another installed package (``mmseg::...``); or a name of :func:`samplug.model_index.names`. If a
            Python config sets a variable to a plain value (numbers, strings, None, lists and tuples of these), its
            bases use that value too, except bases in other packages.
        options: Dotted keys and values of ``--cfg-options``. An undotted key that the config (or a base) declares as a
            plain variable replaces the declared value; every key is merged afterwards as MMEngine does.

    Raises:
        ConfigError: No such file or name; a new top-level key that nothing declares and no Runner reads (a typing
            error); a value of another type than the declared variable; a dict that is to be merged into something else;
            an option or a variable of a derived config that could not reach what is computed from it.
    """
    path = _find(path)
    options = dict(options or {})
    if path.suffix != ".py" or Config._is_lazy_import(str(path)):
        cfg = Config.fromfile(path)
        unreached = {key for key in options if "." not in key and key not in RUNNER_KEYS}
    else:
        variables = {key: value for key, value in options.items() if "." not in key}
        with tempfile.TemporaryDirectory() as folder:
            rewriter = Rewriter(variables, Path(folder))
            copy = rewriter.rewrite(path.resolve())
            try:
                cfg = Config.fromfile(copy)
            except TypeError as error:
                if "cannot inherit from base" not in str(error):
                    raise
                raise ConfigError(f"config: {path}: {error}") from error
        object.__setattr__(cfg, "_filename", str(path))
        changed_later = {key for key in options if "." in key or key in rewriter.dicts}
        unreached = {key for key in changed_later if key.split(".")[0] in rewriter.read - RUNNER_KEYS}
    check_names(cfg, options, path)
    for key in unreached:
        raise ConfigError(
            f"config: --cfg-options {key}=... would change the variable {key.split('.')[0]} of {path} alone, after "
            "the config was built from it: set the keys where its value ends, as model.backbone.img_size=..."
        )
    for key, value in options.items():
        try:
            cfg.merge_from_dict({key: value})
        except (TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"config: {path} cannot take --cfg-options {key}=...: {_reason(error)}") from error
    return cfg


def _reason(error: Exception) -> str:
    if "cannot inherit from base" in str(error):
        return "the config has no dict at this place: to replace its value, write dict(_delete_=True, ...)"
    if isinstance(error, KeyError):
        return "the list has no such index"
    return "lists take an index at this place, and their elements a key after it"


def _find(path: str | Path) -> Path:
    text = str(path)
    file = packaged_config(text) if "::" in text else Path(path).expanduser()
    if file.is_file():
        return file
    # Names may contain a dot (sam2.1): only the suffix of a config says that a file is meant.
    if file.suffix in _SUFFIXES or len(file.parts) != 1:
        raise ConfigError(f"config: {file} does not exist")
    model = resolve(text)
    if model.config is None:
        raise ConfigError(f"config: {model.name} is the name of weights, and has no config")
    return model.config
