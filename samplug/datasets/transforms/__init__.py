from samplug.datasets.transforms.colour import RandomGaussianBlur
from samplug.datasets.transforms.loading import LoadBinaryMask, LoadImage

__all__ = ["LoadBinaryMask", "LoadImage", "RandomGaussianBlur"]
