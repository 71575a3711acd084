#!/usr/bin/env python
"""Write a model's weights in a published layout."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("export-weights"))
