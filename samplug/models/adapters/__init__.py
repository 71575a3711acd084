from samplug.models.adapters.ts_sam_side_network import TSSAMSideNetwork

__all__ = ["TSSAMSideNetwork"]
