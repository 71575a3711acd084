from samplug.datasets.transforms.colour import RandomGaussianBlur
from samplug.datasets.transforms.formatting import PackSegInputs
from samplug.datasets.transforms.loading import LoadBinaryMask, LoadImage

__all__ = ["LoadBinaryMask", "LoadImage", "PackSegInputs", "RandomGaussianBlur"]
