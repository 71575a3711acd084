#!/usr/bin/env python
"""Estimate the memory and the operations of a config, without weights, data or a GPU."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("estimate-memory"))
