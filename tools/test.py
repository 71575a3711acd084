#!/usr/bin/env python
"""Test a model from a config and a checkpoint."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("test"))
