#!/usr/bin/env python
"""Score folders of predictions; no model needed."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("evaluate"))
