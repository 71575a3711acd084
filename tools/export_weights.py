#!/usr/bin/env python
"""Write a model's weights in the layout of SAM's or SAM 2's own files, or for transformers."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.export_weights import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
