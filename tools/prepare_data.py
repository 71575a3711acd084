#!/usr/bin/env python
"""Turn data of other tools into folders that samplug reads."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.prepare_data import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
