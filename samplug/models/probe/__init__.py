from samplug.models.probe.readout import Readout

__all__ = ["Readout"]
