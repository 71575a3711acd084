#!/usr/bin/env python
"""Turn data of other tools into folders that samplug reads."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("prepare"))
