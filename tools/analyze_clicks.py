#!/usr/bin/env python
"""Draw curves and print a table of interactive segmentation."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("analyze-clicks"))
