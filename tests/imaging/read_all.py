"""Read the image files of a folder; print what came out and how much memory each took. Started by test_limits.py."""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from samplug.imaging.files import read_image, read_size
from samplug.utils.errors import DataError

_UNIT = 1024 if sys.platform == "linux" else 1


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def outcome(path):
    found = []
    for read in (read_size, read_image):
        try:
            found.append(f"read {np.shape(read(path))}")
        except DataError as error:
            named = "" if str(path) in str(error) else "not named: "
            found.append(f"{named}{error}")
    return found[-1]


if __name__ == "__main__":
    address_space = 8 * 2**30  # so that a fault here does not stop the machine
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    for path in sorted(Path(sys.argv[1]).iterdir()):
        before, start = peak(), time.process_time()
        result = outcome(path)
        print(json.dumps([path.name, result, peak() - before, time.process_time() - start]), flush=True)
