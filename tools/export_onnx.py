#!/usr/bin/env python
"""Write a model's prompt encoder and mask decoder as ONNX."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.export_onnx import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
