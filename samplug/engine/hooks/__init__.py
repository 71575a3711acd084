from samplug.engine.hooks.omit_frozen import OMITTED_KEY, OmitFrozenHook
from samplug.engine.hooks.overlay import OverlayHook

__all__ = ["OMITTED_KEY", "OmitFrozenHook", "OverlayHook"]
