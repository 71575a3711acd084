from samplug.engine.hooks import OmitFrozenHook, OverlayHook
from samplug.engine.optim import TrainableOptimWrapperConstructor
from samplug.engine.runner import SamplugRunner

__all__ = ["OmitFrozenHook", "OverlayHook", "SamplugRunner", "TrainableOptimWrapperConstructor"]
