from samplug.engine.hooks import OmitFrozenHook
from samplug.engine.optim import TrainableOptimWrapperConstructor
from samplug.engine.runner import SamplugRunner

__all__ = ["OmitFrozenHook", "SamplugRunner", "TrainableOptimWrapperConstructor"]
