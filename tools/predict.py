#!/usr/bin/env python
"""Predict images without ground truth."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("predict"))
