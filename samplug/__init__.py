"""samplug: adapt Segment-Anything models with MMEngine configs.

Importing the package registers the ``samplug`` scope; components are imported when a config first names one of them.
"""

from samplug.utils import interruption

interruption.install_in_commands()  # before the slow imports

from samplug import moved, registry  # noqa: E402
from samplug.utils import late_imports  # noqa: E402
from samplug.version import __version__  # noqa: E402

__all__ = ["__version__", "registry"]

moved.install()
late_imports.install()
