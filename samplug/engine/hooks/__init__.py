from samplug.engine.hooks.checkpoint import CheckpointHook
from samplug.engine.hooks.omit_frozen import OMITTED_KEY, OmitFrozenHook
from samplug.engine.hooks.overlay import OverlayHook
from samplug.engine.hooks.progress import ProgressHook
from samplug.engine.hooks.record import RunRecordHook

__all__ = ["OMITTED_KEY", "CheckpointHook", "OmitFrozenHook", "OverlayHook", "ProgressHook", "RunRecordHook"]
