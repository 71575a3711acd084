"""Configs that cannot be built, said with the place in the config, the class, and the keys or names that there are."""

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry, build_from_cfg
from mmengine.registry.build_functions import build_scheduler_from_cfg
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from samplug.config import RUNNER_KEYS
from samplug.utils.errors import ConfigError, chain, did_you_mean

_UNEXPECTED = re.compile(r"got an unexpected keyword argument '(\w+)'")
_NONE_AT_ALL = re.compile(r"takes no arguments")
_MISSING = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (.*)")
_SEVERAL = 3  # places that a message names

_Place = tuple[str, Mapping[str, Any]]  # path (a.b.0.c) and what stands there
_Locals = Mapping[str, Any]  # of a function


def _train_loop(seen: _Locals) -> Any:
    return EpochBasedTrainLoop if seen.get("by_epoch") else IterBasedTrainLoop


# Functions that call a class with a config's keys: the local variable that holds the config, and which class it is for. Every registry
# builds by one of the first two; the others are for dicts that need no type. Reading them where a build has failed leaves MMEngine, and all
# that can be built, as it is.
_BUILDERS: dict[CodeType, tuple[str, Callable[[_Locals], Any]]] = {
    build_from_cfg.__code__: ("cfg", lambda seen: seen.get("obj_cls")),
    build_scheduler_from_cfg.__code__: ("cfg", lambda seen: seen.get("scheduler_cls")),
    Runner.build_dataloader.__code__: ("dataloader", lambda _: DataLoader),
    Runner.build_log_processor.__code__: ("log_processor", lambda _: LogProcessor),
    Runner.build_train_loop.__code__: ("loop", _train_loop),
    Runner.build_val_loop.__code__: ("loop", lambda _: ValLoop),
    Runner.build_test_loop.__code__: ("loop", lambda _: TestLoop),
}


class _Build(NamedTuple):
    """A part of a config that was being built."""

    cfg: Any  # a dict, if nothing is wrong with it
    defaults: Mapping[str, Any]  # what the code that builds it adds
    kind: Any  # class or function; None: none has that name
    registry: Registry | None


@contextmanager
def named_in(cfg: Config) -> Iterator[None]:
    """Build parts of a config inside: what cannot be built for a wrong key or name is told with its place in the config.

    Args:
        cfg: The whole config, in which places are looked up.

    Raises:
        ConfigError: A key that the class does not have, one that it needs and the config lacks, or a type that no registry knows. Other
            errors pass as they are.
    """
    try:
        yield
    except (TypeError, KeyError) as error:
        message = _message(error, cfg)
        if message is None:
            raise
        raise ConfigError(message) from error


def _message(error: BaseException, cfg: Config) -> str | None:
    causes = list(chain(error))
    builds = [build for cause in causes for build in _builds(cause)]
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
        # A key that the class has was misused by its own code, one that the config does not have by the code that builds it.
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
    return (
        f"config: {where}no {what} is called {kind!r}{did_you_mean(kind, _names(failed.registry))} (one of your own: name its module in "
        f"custom_imports)"
    )


def _builds(error: BaseException) -> Iterator[_Build]:
    """What was being built where an error arose, the outermost first."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        cfg, kind = _BUILDERS.get(frame.f_code, ("", None))
        seen = frame.f_locals
        if kind is not None and cfg in seen:
            yield _Build(seen[cfg], seen.get("default_args") or {}, kind(seen), seen.get("registry"))


def accepted_keys(kind: Any) -> list[str]:
    """Names of the keyword arguments of a class or a function; where a class passes the rest on (``**kwargs``), those of its bases too."""
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
    """The keys that a config may have: without those that the code around it sets."""
    own = places[0][1] if places else build.cfg
    added = (set(build.cfg) | set(build.defaults)) - set(own)
    return [key for key in known if key not in added]


def _places(builds: list[_Build], cfg: Config) -> list[_Place]:
    """Where in the config the innermost of nested builds stands: several places if they are alike, none if code made it."""
    whole: list[_Place] = [("", {key: value for key, value in cfg.items() if key in RUNNER_KEYS})]
    within, found = whole, whole
    for build in builds:
        # A loop builds its dataloader and evaluator, which stand elsewhere.
        for parts in (within, whole):
            found = [place for path, part in parts for place in _dicts(part, path) if _made_of(build.cfg, place[1])]
            if found:
                found = within = list(dict(found).items())  # of parts in each other, each once
                break
    return found


def _with_key(key: str, build: _Build, cfg: Config) -> list[_Place]:
    """Where a key stands in a dict of a build's type: for dicts that code changed before it built them."""
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
    """Whether what was built is a dict of the config, or that with additions; a part that was wrapped or built before counts as alike."""
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
    """What can be built, as a config of samplug's scope writes it."""
    root = registry
    while root.parent is not None:
        root = root.parent
    families = [root, *root.children.values()]
    return sorted(
        name if family.scope in (root.scope, "samplug") else f"{family.scope}.{name}"
        for family in families
        for name in family.module_dict
    )
