from samplug.engine.hooks import OmitFrozenHook, OverlayHook
from samplug.engine.optim import TrainableOptimWrapperConstructor
from samplug.engine.runner import SamplugRunner
from samplug.engine.sharded import FSDPStrategy, ShardedRunner

__all__ = [
    "FSDPStrategy",
    "OmitFrozenHook",
    "OverlayHook",
    "SamplugRunner",
    "ShardedRunner",
    "TrainableOptimWrapperConstructor",
]
