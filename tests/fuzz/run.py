"""Read mutated files, one after the other, in limited memory and time: ``python -m tests.fuzz.run TARGET SEED FIRST END FOLDER``.

Each line of ``FOLDER/faults`` is a fault. Before a case its number is written to ``FOLDER/case``, which names it if this process
dies.
"""

import contextlib
import faulthandler
import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from samplug.utils.errors import UserError
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS, Target
from tests.speed import freeze_imports

PIXELS = 2_000_000
MEMORY = 20 * PIXELS + 96 * 2**20  # peak of one case, in bytes
SECONDS = 10.0  # processor time of one case
ADDRESS_SPACE = 4 * 2**30  # beyond what the imports take
LONGEST_LINE = 1200


def peak_memory(reset: bool = False) -> int:
    """Return the peak of resident memory in bytes, since the last reset where the system has one."""
    if reset:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def read_case(target: Target, folder: Path, seed: int, case: int) -> str:
    """Mutate a file and read it; return the fault, or an empty text."""
    rng = random.Random(f"{seed}/{case}")
    name, content, mutators = target.seeds[case % len(target.seeds)]
    path = folder / name
    path.write_bytes(mutate(rng, content, mutators))
    os.utime(path, ns=(case, case))  # facts are remembered by size and time
    random.seed(case)
    before, start = peak_memory(reset=True), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
        fault = ""
    except UserError as error:
        fault = fault_of(error, path)
    except BaseException as error:  # Rust's panics are no Exceptions
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} at {place.filename}:{place.lineno}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds, memory = time.process_time() - start, peak_memory() - before
    path.write_bytes(content)
    if not fault and seconds > SECONDS:
        fault = f"{seconds:.1f} s of processor time"
    if not fault and memory > MEMORY:
        fault = f"{memory >> 20} MiB of memory"
    return f"{name}: {fault}" if fault else ""


def fault_of(error: UserError, path: Path) -> str:
    """Return what is wrong with a message, or an empty text."""
    text = str(error)
    if path.name not in text:
        return f"the error does not name the file: {text[:300]}"
    if longest := max(len(line) for line in text.splitlines()) > LONGEST_LINE:
        return f"the error has a line of {longest} characters: {text[:300]}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"the error cannot be printed: {text[:300]!a}"
    return ""


def main(name: str, seed: int, first: int, end: int, folder: Path) -> None:
    init_default_scope("samplug")
    MMLogger.get_instance("fuzz", log_level="CRITICAL")
    make, _ = TARGETS[name]
    target = make(folder)
    for file, content, _ in target.seeds:
        (folder / file).write_bytes(content)
        target.read(folder / file)  # sound files are read
    freeze_imports()  # MMEngine collects garbage for each dataset
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE,) * 2)
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # prints where it is, and ends
    with open(folder / "case", "wb", buffering=0) as record, open(folder / "faults", "w", buffering=1) as faults:
        for case in range(first, end):
            record.seek(0)
            record.write(b"%020d" % case)
            if fault := read_case(target, folder, seed, case):
                faults.write(f"case {case}: {fault!a}\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5]))
