"""Children of every MMEngine root registry under the scope ``samplug``.

A scope without a child of some root makes MMEngine warn at each look-up, so all of them exist, also the empty ones.
``locations`` are imported at the first look-up, so a config needs no import beyond ``custom_imports=['samplug']``.
"""

from typing import Any

from mmengine import registry as root
from mmengine.registry import Registry

from samplug import moved
from samplug.utils.errors import ConfigError


class RenamedTypeError(ConfigError, KeyError):
    """A config asks for a component by a name that it had before. A KeyError, as for any name that a registry lacks."""

    __str__ = ConfigError.__str__  # KeyError's puts the message in quotes


class _Child(Registry):
    """Registry that looks up samplug's own names first, whatever ``default_scope`` a config has.

    MMEngine asks the default scope alone, so that ``samplug.TSSAM`` in an mmseg config would not find its own adapter.
    """

    def get(self, key: str) -> Any:
        """Return the object of a name, as MMEngine does.

        Raises:
            RenamedTypeError: The component has another name now.
        """
        scope, _, name = key.rpartition(".")
        if name in moved.TYPES and scope in ("", self.scope) and name not in self.module_dict:
            raise RenamedTypeError(f"config: {name} is {moved.TYPES[name]} now: use that name")
        return super().get(key)

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(cfg, dict) and "_scope_" not in cfg and isinstance(cfg.get("type"), str):
            self.import_from_location()
            if cfg["type"] in self.module_dict:
                cfg = {**cfg, "_scope_": self.scope}
        return super().build(cfg, *args, **kwargs)


def _child(parent: Registry, *locations: str) -> Registry:
    return _Child(parent.name, parent=parent, scope="samplug", locations=list(locations))


RUNNERS = _child(root.RUNNERS, "samplug.engine")
RUNNER_CONSTRUCTORS = _child(root.RUNNER_CONSTRUCTORS)
LOOPS = _child(root.LOOPS, "samplug.engine")
HOOKS = _child(root.HOOKS, "samplug.engine")
STRATEGIES = _child(root.STRATEGIES, "samplug.engine")

DATASETS = _child(root.DATASETS, "samplug.datasets.components")
DATA_SAMPLERS = _child(root.DATA_SAMPLERS)
TRANSFORMS = _child(root.TRANSFORMS, "samplug.datasets.transforms")

MODELS = _child(root.MODELS, "samplug.models", "samplug.generation")
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, "samplug.checkpoints")

OPTIMIZERS = _child(root.OPTIMIZERS)
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, "samplug.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, "samplug.engine")
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)

METRICS = _child(root.METRICS, "samplug.evaluation.metrics")
EVALUATOR = _child(root.EVALUATOR, "samplug.evaluation.sets_evaluator")

TASK_UTILS = _child(root.TASK_UTILS)
FUNCTIONS = _child(root.FUNCTIONS)
VISUALIZERS = _child(root.VISUALIZERS)
VISBACKENDS = _child(root.VISBACKENDS, "samplug.visualization.backends")
LOG_PROCESSORS = _child(root.LOG_PROCESSORS)
INFERENCERS = _child(root.INFERENCERS)
