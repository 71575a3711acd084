"""samplug: adapt Segment-Anything models with MMEngine configs.

Importing the package registers the ``samplug`` scope; components are imported when a config first names one of them.
"""

from samplug import moved, registry
from samplug.utils import late_imports
from samplug.version import __version__

__all__ = ["__version__", "registry"]

moved.install()
late_imports.install()
