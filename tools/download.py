#!/usr/bin/env python
"""Download the weights that a model needs."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.download import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
