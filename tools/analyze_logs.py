#!/usr/bin/env python
"""Curves and a table of the training logs of one or more runs."""

import sys

from samplug.apis.analyze_logs import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
