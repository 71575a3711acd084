#!/usr/bin/env python
"""Write a model's prompt encoder and mask decoder as ONNX."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main("export-onnx"))
