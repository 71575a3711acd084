from samplug.engine.fsdp import FSDPStrategy
from samplug.engine.hooks import OmitFrozenHook, OverlayHook, ProgressHook, RunRecordHook
from samplug.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop
from samplug.engine.optim import AmpOptimWrapper, TrainableOptimWrapperConstructor
from samplug.engine.runner import SamplugRunner

__all__ = [
    "AmpOptimWrapper",
    "EpochBasedTrainLoop",
    "FSDPStrategy",
    "IterBasedTrainLoop",
    "OmitFrozenHook",
    "OverlayHook",
    "ProgressHook",
    "RunRecordHook",
    "SamplugRunner",
    "TrainableOptimWrapperConstructor",
]
