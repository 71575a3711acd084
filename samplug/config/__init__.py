"""Load configs so that the values of declared variables reach everything that is computed from them.

MMEngine merges ``--cfg-options`` after it has evaluated a config: with ``img_size = 1024`` and ``model =
dict(img_size=img_size)``, ``--cfg-options img_size=512`` changes the variable and leaves the model at 1024. So does a
derived config that says ``img_size = 512``. Here the assignment itself gets the new value before anything is evaluated,
in whichever file of the ``_base_`` chain it stands: the value of the command line, or else that of the most derived
config that assigns a plain value.
"""

from samplug.config.keys import RUNNER_KEYS
from samplug.config.loading import load_config

__all__ = ["RUNNER_KEYS", "load_config"]
