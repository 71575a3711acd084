"""Turn failures to build a part of a config into errors that name its place, its class and the valid keys.

MMEngine builds every typed part with the ``build_func`` of a registry, an attribute that a registry may be given.
Inside :func:`named_in` each registry has a build function that first notes the part and then calls the original one;
the Runner notes the parts that need no type with :func:`part`. When a build fails, the error keeps the parts that were
being built, the outermost first.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.registry import root as roots

from samplug.checkpoints.errors import WeightsError
from samplug.config import RUNNER_KEYS
from samplug.engine.missing_weights import with_remedy
from samplug.moved import TYPES
from samplug.registry import RenamedTypeError
from samplug.utils.errors import ConfigError, chain, did_you_mean

_UNEXPECTED = re.compile(r"got an unexpected keyword argument '(\w+)'")
_NONE_AT_ALL = re.compile(r"takes no arguments")
_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (.*)")
_SEVERAL = 3  # places that a message names

_Place = tuple[str, Mapping[str, Any]]  # path (a.b.0.c) and the config there


class _Build(NamedTuple):
    """A part of a config that is being built."""

    cfg: Any  # a dict, if nothing is wrong with it
    defaults: Mapping[str, Any]  # keys that the code that builds it adds
    kind: Any  # class or function; None: looked up in the registry when the build fails
    registry: Registry | None

    def found(self) -> "_Build":
        """Return the part with its class and the registry that has it; ``kind`` stays None if no class has its name."""
        if self.registry is None or not isinstance(self.cfg, Mapping):
            return self
        kind = self.cfg.get("type", self.defaults.get("type"))
        with self.registry.switch_scope_and_registry(self.cfg.get("_scope_")) as registry:
            try:
                found = registry.get(kind) if isinstance(kind, str) else kind
            except RenamedTypeError:
                found = None
            return self._replace(kind=found, registry=registry)


_being_built: ContextVar[tuple[_Build, ...]] = ContextVar("being_built", default=())
_FAILED = "samplug_builds"  # attribute of an error: the parts that were being built


@contextmanager
def named_in(cfg: Config) -> Iterator[None]:
    """Name the place in the config in errors of components that are built in the block.

    Errors about missing weights name the setting for another file. Other errors pass unchanged.

    Args:
        cfg: The whole config, in which places are looked up.

    Raises:
        ConfigError: A class does not have a key of the config, a required key is missing, or no registry contains a
            type.
        WeightsError: A weight file does not exist.
    """
    registries = [registry for registry in _registries() if not hasattr(registry.build_func, "__wrapped__")]
    for registry in registries:
        registry.build_func = _noting(registry.build_func)
    try:
        yield
    except (TypeError, KeyError) as error:
        message = _message(error, cfg)
        if message is None:
            raise
        raise ConfigError(message) from error
    except WeightsError as error:
        raise with_remedy(error, cfg) from error.__cause__
    finally:
        if registries:  # children that were made inside have inherited the function
            for registry in _registries():
                registry.build_func = getattr(registry.build_func, "__wrapped__", registry.build_func)


@contextmanager
def part(
    cfg: Any, kind: Any, defaults: Mapping[str, Any] | None = None, registry: Registry | None = None
) -> Iterator[None]:
    """Note that a part of a config is built inside.

    Args:
        cfg: Its config.
        kind: Class that is called with the config's keys; None: the config's ``type``.
        defaults: Keys that are added to the config's.
        registry: Registry that knows the type.
    """
    builds = (*_being_built.get(), _Build(cfg, defaults or {}, kind, registry))
    token = _being_built.set(builds)
    try:
        yield
    except Exception as error:
        if not any(hasattr(cause, _FAILED) for cause in chain(error)):
            setattr(error, _FAILED, [build.found() for build in builds])
        raise
    finally:
        _being_built.reset(token)


def _noting(build: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def noting(cfg: Any, *args: Any, registry: Registry, **kwargs: Any) -> Any:
        defaults = args[0] if args else kwargs.get("default_args")
        with part(cfg, None, defaults, registry):
            return build(cfg, *args, registry=registry, **kwargs)

    return noting


def _registries() -> list[Registry]:
    """Return all registries: MMEngine's roots, and their children in all packages that have been imported."""
    found = [value for value in vars(roots).values() if isinstance(value, Registry)]
    for registry in found:
        found.extend(registry.children.values())
    return found


def _message(error: BaseException, cfg: Config) -> str | None:
    causes = list(chain(error))
    builds: list[_Build] = next((getattr(cause, _FAILED) for cause in causes if hasattr(cause, _FAILED)), [])
    if not builds:
        return None
    failed = builds[-1]
    if not isinstance(failed.cfg, Mapping):
        places: list[_Place] = [
            (f"{path}.{key}", {}) for path, node in _places(builds[:-1], cfg) for key in node if node[key] == failed.cfg
        ]
        return f"config: {_where(places)}{failed.cfg!r} is no dict(type=...)"
    if failed.kind is None:
        return _unknown_type(failed, builds, cfg)
    known = accepted_keys(failed.kind)
    text = "\n".join(str(cause) for cause in causes)
    if match := _UNEXPECTED.search(text) or _NONE_AT_ALL.search(text):
        key = (
            match[1]
            if match.re is _UNEXPECTED
            else next((key for key in failed.cfg if key not in ("type", "_scope_")), "")
        )
        # If the class has the key, or the config does not, the error is one of the code and not of the config.
        if key in known or key not in failed.cfg:
            return None
        places = [place for place in _places(builds, cfg) if key in place[1]]
        known = _settable(known, failed, places)
        places = places or _with_key(key, failed, cfg)
        named = f"{_name(failed)} has no {key!r}{did_you_mean(key, known)}"
    elif match := _MISSING.search(text):
        lacking = re.findall(r"'(\w+)'", match[1])
        if not set(lacking) <= set(known) - set(failed.cfg) - set(failed.defaults):
            return None
        places = _places(builds, cfg)
        known = _settable(known, failed, places)
        named = f"{_name(failed)} needs {', '.join(lacking)}, which is not set"
    else:
        return None
    keys = ", ".join(known) or "none"
    return f"config: {_where(places)}{named} (its keys: {keys})"


def _unknown_type(failed: _Build, builds: list[_Build], cfg: Config) -> str | None:
    if failed.registry is None:
        return None
    where, what, kind = _where(_places(builds, cfg)), failed.registry.name, failed.cfg.get("type")
    if kind is None:
        return f"config: {where}a {what} needs a type=..., and there is none in {dict(failed.cfg)}"
    if not isinstance(kind, str):
        return None
    if kind in TYPES:
        return f"config: {where}{kind} is {TYPES[kind]} now: change its type"
    return (
        f"config: {where}no {what} is called {kind!r}{did_you_mean(kind, _names(failed.registry))} (one of your own: "
        "name its module in custom_imports)"
    )


def accepted_keys(kind: Any) -> list[str]:
    """Return the keyword arguments of a class or function, with those of its bases if it passes on ``**kwargs``."""
    functions = (
        [vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base)]
        if inspect.isclass(kind)
        else [kind]
    )
    names: dict[str, None] = {}
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # written in C
            break
        names |= dict.fromkeys(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    names.pop("self", None)
    return sorted(names)


def _settable(known: list[str], build: _Build, places: list[_Place]) -> list[str]:
    """Return the keys that a config may set: the known ones without those that the surrounding code sets."""
    own = places[0][1] if places else build.cfg
    added = (set(build.cfg) | set(build.defaults)) - set(own)
    return [key for key in known if key not in added]


def _places(builds: list[_Build], cfg: Config) -> list[_Place]:
    """Return the places in the config of the innermost of nested builds.

    There are several if equal parts occur, and none if the code made the part's config.
    """
    whole: list[_Place] = [("", {key: value for key, value in cfg.items() if key in RUNNER_KEYS})]
    within, found = whole, whole
    for build in builds:
        # A loop builds its dataloader and evaluator, which are elsewhere in the config.
        for parts in (within, whole):
            found = [place for path, part in parts for place in _dicts(part, path) if _made_of(build.cfg, place[1])]
            if found:
                found = within = list(dict(found).items())  # nested parts, each once
                break
    return found


def _with_key(key: str, build: _Build, cfg: Config) -> list[_Place]:
    """Return places of a key in dicts of the build's type; used if code changed the config before it built the part."""
    kind = build.cfg.get("type")
    everything = _dicts({name: value for name, value in cfg.items() if name in RUNNER_KEYS})
    return [(path, node) for path, node in everything if key in node and node.get("type") == kind]


def _dicts(value: Any, path: str = "") -> Iterator[_Place]:
    if isinstance(value, Mapping):
        yield path, value
        children: Any = value.items()
    elif isinstance(value, list | tuple):
        children = enumerate(value)
    else:
        return
    for key, child in children:
        yield from _dicts(child, f"{path}.{key}" if path else str(key))


def _made_of(built: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Return True if ``built`` is the config ``node``, possibly with more keys.

    Nested parts count as equal, as they may be wrapped or built already.
    """
    if built.get("type") != node.get("type") or not node:
        return False
    plain = {key: value for key, value in node.items() if not isinstance(value, Mapping | list | tuple)}
    nested = node.keys() - plain.keys()
    return nested <= built.keys() and all(key in built and built[key] == value for key, value in plain.items())


def _where(places: list[_Place]) -> str:
    paths = [path for path, _ in places]
    more = f" and {len(paths) - _SEVERAL} more" if len(paths) > _SEVERAL else ""
    return f"{', '.join(paths[:_SEVERAL])}{more}: " if paths else ""


def _name(build: _Build) -> str:
    return getattr(build.kind, "__name__", repr(build.kind))


def _names(registry: Registry) -> list[str]:
    """Return the names of all types that a registry can build, as a config of samplug's scope writes them."""
    root = registry
    while root.parent is not None:
        root = root.parent
    families = [root, *root.children.values()]
    return sorted(
        name if family.scope in (root.scope, "samplug") else f"{family.scope}.{name}"
        for family in families
        for name in family.module_dict
    )
