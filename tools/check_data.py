#!/usr/bin/env python
"""Check that the sets of a config are there, whole, and as published."""

import sys

from samplug.apis.check_data import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
