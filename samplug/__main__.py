"""``python -m samplug NAME``: the console command ``samplug`` without its script."""

import sys

from samplug.commands.run import main

if __name__ == "__main__":
    sys.exit(main())
