from samplug.models.adapters.base import Adapter, AdapterTap, build_adapter
from samplug.models.adapters.lora import LoRAAdapter
from samplug.models.adapters.sam_adapter import SAMAdapter
from samplug.models.adapters.ts_sam_side_network import TSSAMSideNetwork

__all__ = ["Adapter", "AdapterTap", "LoRAAdapter", "SAMAdapter", "TSSAMSideNetwork", "build_adapter"]
