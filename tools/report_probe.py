#!/usr/bin/env python
"""Compare linear probes: table, bars, accuracy of each class, and confusions."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("report-probe"))
