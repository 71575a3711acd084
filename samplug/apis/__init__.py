"""Interface for programs: ``init_model``, ``Inferencer``, ``Prediction``, ``Predictor``, ``estimate_memory``.

Names are imported on first access.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplug.apis.inferencer import Inferencer
    from samplug.apis.memory import MemoryEstimate, estimate_memory
    from samplug.apis.model import init_model
    from samplug.apis.prediction import Prediction
    from samplug.apis.predictor import Predictor

__all__ = ["Inferencer", "MemoryEstimate", "Prediction", "Predictor", "estimate_memory", "init_model"]

_MODULES = {
    "Inferencer": "inferencer",
    "MemoryEstimate": "memory",
    "Prediction": "prediction",
    "Predictor": "predictor",
    "estimate_memory": "memory",
    "init_model": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
