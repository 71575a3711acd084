from samplug.datasets import transforms
from samplug.datasets.binary_seg import BinarySegDataset
from samplug.datasets.camouflage import CamouflageSceneDataset
from samplug.datasets.io import DataError

__all__ = ["BinarySegDataset", "CamouflageSceneDataset", "DataError", "transforms"]
