#!/usr/bin/env python
"""Write a model's weights in the layout of SAM's or SAM 2's own files, or for transformers."""

import sys

from samplug.apis.export_weights import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
