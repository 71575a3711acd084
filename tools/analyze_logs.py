#!/usr/bin/env python
"""Curves and a table of the training logs of one or more runs."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.analyze_logs import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
