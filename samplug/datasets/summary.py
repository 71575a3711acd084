"""Describe a dataset, so that two runs can be compared."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import BaseDataset

from samplug.datasets.seeding import SeededDataset

_LISTED = 20
# Reading the sizes of 200,000 files takes seconds on a local disk and minutes over a network, at each start.
MOST_SIZED_FILES = 10_000


def summarise(dataset: Any) -> dict[str, Any]:
    """Describe any dataset, ready for JSON; wrappers (``ConcatDataset``, ...) with the datasets inside.

    No sample is loaded. Lazy datasets are initialised.

    Returns:
        ``type`` and ``length``, and as far as the dataset has them: ``name``, ``data_root``, ``image_dir``,
        ``mask_dir``, ``ann_dir``, ``ann_file``, ``part``; ``facts``, ``skipped`` and ``skipped_files`` (the first 20)
        of a dataset that checks its files; ``files``, see :func:`summarise_files`; ``times`` and ``datasets`` of a
        wrapper.
    """
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    if isinstance(dataset, SeededDataset):
        dataset = dataset._drawn
    summary: dict[str, Any] = dict(
        type=type(dataset).__name__, length=len(dataset) if hasattr(dataset, "__len__") else None
    )
    wrapped = getattr(dataset, "datasets", None) or [d for d in (getattr(dataset, "dataset", None),) if d is not None]
    if wrapped:
        times = getattr(dataset, "times", None)
        return summary | ({} if times is None else dict(times=times)) | dict(datasets=[summarise(d) for d in wrapped])
    for field in ("name", "data_root", "image_dir", "mask_dir", "ann_dir", "ann_file", "part"):
        if value := getattr(dataset, field, None):
            summary[field] = str(value)
    if facts := getattr(dataset, "facts", None):
        summary["facts"] = f"{dataset.describe()}; {len(facts)} read"
    if skipped := getattr(dataset, "skipped", None):
        summary |= dict(skipped=len(skipped), skipped_files=dict(list(skipped.items())[:_LISTED]))
    if isinstance(dataset, BaseDataset):
        summary["files"] = summarise_files(dataset)
    return summary


def summarise_files(dataset: Any) -> dict[str, Any]:
    """Return number, bytes and digest of the files of an MMEngine dataset.

    The files are the entries of its data list whose key ends in ``_path`` (a string) or ``_paths`` (a list of strings).
    The digest is over the names under ``data_root``, in the dataset's order, so it stays when a folder is moved. Up to
    :data:`MOST_SIZED_FILES` files it is over their sizes too; it does not see a file that was changed at the same size.
    For larger sets it is over the names alone, and no size is read. Generated samples have names only.

    Returns:
        ``number`` of files; ``sha256`` of the list; ``missing`` (files without a size) and ``bytes`` in all, both None
        for larger sets.
    """
    root = str(getattr(dataset, "data_root", None) or "")
    paths = list(_paths(dataset))
    sizes = [_size(path) for path in paths] if len(paths) <= MOST_SIZED_FILES else None
    lines = hashlib.sha256()
    for index, path in enumerate(paths):
        size = "" if sizes is None else f"\t{sizes[index]}"
        lines.update(f"{path.removeprefix(root)}{size}\n".encode(errors="surrogateescape"))
    return dict(
        number=len(paths),
        missing=None if sizes is None else sizes.count(-1),
        bytes=None if sizes is None else sum(size for size in sizes if size > 0),
        sha256=lines.hexdigest(),
    )


def _size(path: str) -> int:
    """Return the size of a file in bytes; -1 if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _paths(dataset: Any) -> Iterator[str]:
    for index in range(len(dataset)):
        # BaseDataset's method returns the entry of the list; a dataset's own may do more, e.g. generate the sample.
        info = BaseDataset.get_data_info(dataset, index)
        for key, value in info.items():
            if key.endswith("_path") and isinstance(value, str):
                yield value
            elif key.endswith("_paths"):
                yield from value
