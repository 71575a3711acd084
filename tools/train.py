#!/usr/bin/env python
"""Train a model from a config."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("train"))
