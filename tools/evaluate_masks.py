#!/usr/bin/env python
"""Score folders of predicted maps against folders of true masks; no model needed."""

import sys

from samplug.commands.run import run


def main() -> None:
    from samplug.commands.evaluate_masks import main as command  # inside run: an interruption ends it well from here on

    command()


if __name__ == "__main__":
    sys.exit(run(main))
