from samplug.engine.hooks.checkpoint import CheckpointHook
from samplug.engine.hooks.deferred_losses import RuntimeInfoHook
from samplug.engine.hooks.early_stopping import EarlyStoppingHook
from samplug.engine.hooks.ema import EMAHook
from samplug.engine.hooks.feature_cache import FeatureCacheHook
from samplug.engine.hooks.features import FeatureReaderHook
from samplug.engine.hooks.head_selection import HeadSelectionHook
from samplug.engine.hooks.memory import MemoryHook
from samplug.engine.hooks.non_finite import NonFiniteHook
from samplug.engine.hooks.omit_frozen import OMITTED_KEY, OmitFrozenHook
from samplug.engine.hooks.overlay import OverlayHook
from samplug.engine.hooks.param_scheduler import ParamSchedulerHook
from samplug.engine.hooks.progress import ProgressHook
from samplug.engine.hooks.run_record import RunRecordHook
from samplug.engine.hooks.split_leakage import SplitLeakageHook
from samplug.engine.hooks.unused_parameters import UnusedParametersHook

__all__ = [
    "OMITTED_KEY",
    "CheckpointHook",
    "EMAHook",
    "EarlyStoppingHook",
    "FeatureCacheHook",
    "FeatureReaderHook",
    "HeadSelectionHook",
    "MemoryHook",
    "NonFiniteHook",
    "OmitFrozenHook",
    "OverlayHook",
    "ParamSchedulerHook",
    "ProgressHook",
    "RunRecordHook",
    "RuntimeInfoHook",
    "SplitLeakageHook",
    "UnusedParametersHook",
]
