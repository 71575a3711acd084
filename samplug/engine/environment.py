"""Describe the environment of a run: command, versions, machine, git repositories."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import torch

import samplug

# Import name -> distributions that provide it; cv2 has several.
_PACKAGES = {
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "torch": ("torch",),
    "numpy": ("numpy",),
    "transformers": ("transformers",),
}
_DRIVER = Path("/proc/driver/nvidia/version")


def describe_environment() -> dict[str, Any]:
    """Return command line, versions and machine for JSON; nothing is imported or measured, so it takes milliseconds."""
    return dict(
        command=shlex.join(sys.orig_argv),
        folder=os.getcwd(),
        versions=versions(),
        platform=platform.platform(),
        host=platform.node(),
        cpus=_usable_cpus(),
        memory_gb=_memory_gb(),
        gpus=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        gpu_driver=_driver(),
    )


def versions() -> dict[str, str | None]:
    """Return versions of Python and of packages that a result may depend on; None if a package is not installed."""
    return {
        "python": platform.python_version(),
        "samplug": samplug.__version__,
        **{name: _version(distributions) for name, distributions in _PACKAGES.items()},
        "cv2": cv2.__version__,
        "cuda": torch.version.cuda,
    }


def repositories(config: str | None) -> dict[str, dict[str, Any]]:
    """Return the git state of samplug's repository, and of the config's repository if that is another one.

    Args:
        config: File name of the config, if it has one.

    Returns:
        ``'samplug'`` and ``'config'``, if they are in a repository: ``folder``, ``commit`` (None before the first one),
        and ``dirty``, True if tracked files differ from the commit (None if git fails).
    """
    found = {"samplug": _repository(Path(samplug.__file__)) or None}
    if config:
        found["config"] = _repository(Path(config), tracked=False)
    if found.get("config") == found["samplug"]:
        found.pop("config", None)
    return {name: state for name, state in found.items() if state}


def _repository(file: Path, tracked: bool = True) -> dict[str, Any] | None:
    """Return the git state of the repository around a file; None if there is none.

    Args:
        file: A file in the repository.
        tracked: The repository must track the file, otherwise it does not count.
    """
    folder = file.resolve().parent
    top = _git(folder, "rev-parse", "--show-toplevel")
    # An installed package may lie in an environment inside the repository of another project.
    if not top or (tracked and _git(folder, "ls-files", "--error-unmatch", file.name) is None):
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return dict(
        folder=top,
        commit=_git(folder, "rev-parse", "--verify", "HEAD"),
        dirty=None if changes is None else bool(changes),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command; None if git is not installed or fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return None


def _driver() -> str | None:
    """Return the version line of NVIDIA's driver; None if there is no driver."""
    try:
        return _DRIVER.read_text().splitlines()[0].removeprefix("NVRM version:").strip()
    except (OSError, IndexError):
        return None
