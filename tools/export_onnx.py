#!/usr/bin/env python
"""Write a model's prompt encoder and mask decoder as ONNX."""

import sys

from samplug.apis.export_onnx import main
from samplug.utils.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
