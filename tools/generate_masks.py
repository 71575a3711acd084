#!/usr/bin/env python
"""Generate masks of everything in images."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("generate"))
