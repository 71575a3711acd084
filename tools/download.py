#!/usr/bin/env python
"""Download the weights that a model needs."""

import sys

from samplug.apis.download import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
