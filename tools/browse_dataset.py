#!/usr/bin/env python
"""Draw the samples that a model is fed, or time the loader on its own."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("browse"))
