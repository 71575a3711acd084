#!/usr/bin/env python
"""Curves and a table of interactive segmentation."""

import sys

from samplug.apis.analyze_clicks import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
