from samplug.engine.hooks import OmitFrozenHook, OverlayHook, ProgressHook, RunRecordHook
from samplug.engine.optim import TrainableOptimWrapperConstructor
from samplug.engine.runner import SamplugRunner

__all__ = [
    "OmitFrozenHook",
    "OverlayHook",
    "ProgressHook",
    "RunRecordHook",
    "SamplugRunner",
    "TrainableOptimWrapperConstructor",
]
