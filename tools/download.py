#!/usr/bin/env python
"""Download the weights that a model needs."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("download"))
