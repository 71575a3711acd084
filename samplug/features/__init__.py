from samplug.features.reader import FeatureReader, pixel_key
from samplug.features.store import FeatureStore
from samplug.features.vectors import VectorStore

__all__ = ["FeatureReader", "FeatureStore", "VectorStore", "pixel_key"]
