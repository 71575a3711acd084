#!/usr/bin/env python
"""Check that the sets of a config are there, whole, and as published."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.check_data import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
