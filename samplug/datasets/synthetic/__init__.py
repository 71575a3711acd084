from samplug.datasets.synthetic.camouflage import camouflage_scene
from samplug.datasets.synthetic.textures import TEXTURES

__all__ = ["TEXTURES", "camouflage_scene"]
