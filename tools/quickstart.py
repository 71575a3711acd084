#!/usr/bin/env python
"""Train, test and draw a small model on generated data."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("quickstart"))
