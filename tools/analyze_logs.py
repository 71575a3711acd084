#!/usr/bin/env python
"""Draw curves and print a table of the training logs of one or more runs."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("analyze-logs"))
