from samplug.models.probe.heads import ProbeHead, ProbeHeads, head_name
from samplug.models.probe.linear_probe import LinearProbe
from samplug.models.probe.norm import FeatureNorm
from samplug.models.probe.preprocessor import ProbePreProcessor
from samplug.models.probe.readout import Readout

__all__ = ["FeatureNorm", "LinearProbe", "ProbeHead", "ProbeHeads", "ProbePreProcessor", "Readout", "head_name"]
