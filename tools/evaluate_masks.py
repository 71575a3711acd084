#!/usr/bin/env python
"""Score folders of predicted maps against folders of true masks; no model needed."""

import sys

from samplug.apis.evaluate_masks import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
