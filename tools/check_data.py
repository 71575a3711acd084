#!/usr/bin/env python
"""Check that the datasets of a config are there, whole, and as published."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("check"))
