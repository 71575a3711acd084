"""What a dataset is made of, and whether two runs had the same data."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import BaseDataset

from samplug.datasets.seeding import SeededDataset

_LISTED = 20


def summarise(dataset: Any) -> dict[str, Any]:
    """Describe any dataset, wrappers (``ConcatDataset``, ``RepeatDataset``, ...) with what they wrap, ready for json.

    No sample is loaded: files are only asked for their size. Lazy datasets are initialised.

    Returns:
        ``type`` and ``length``, and as far as the dataset has them: ``name``, ``data_root``, ``image_dir``, ``mask_dir``, ``ann_dir``, ``ann_file``,
        ``part``; ``facts``, ``skipped`` and ``skipped_files`` (the first 20) of a dataset that checks its files; ``files``, see
        :func:`summarise_files`; ``times`` and ``datasets`` of a wrapper.
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
    """Number, bytes and digest of the files of an MMEngine dataset, i.e. of all entries of its data list that end in ``_path`` or,
    lists, in ``_paths``.

    The digest is over the names under ``data_root`` and the sizes, in the dataset's order: it stays when a folder is moved, and
    does not see a file that was changed at the same size. Generated samples have names only.

    Returns:
        ``number`` of files, ``missing`` (those without a size), ``bytes`` in all, ``sha256`` of their list.
    """
    root = str(getattr(dataset, "data_root", None) or "")
    lines = hashlib.sha256()
    totals: Counter[str] = Counter()
    for path in _paths(dataset):
        try:
            size = os.stat(path).st_size
        except OSError:
            size = -1
            totals["missing"] += 1
        totals["number"] += 1
        totals["bytes"] += max(size, 0)
        lines.update(f"{path.removeprefix(root)}\t{size}\n".encode(errors="surrogateescape"))
    return dict(number=totals["number"], missing=totals["missing"], bytes=totals["bytes"], sha256=lines.hexdigest())


def _paths(dataset: Any) -> Iterator[str]:
    for index in range(len(dataset)):
        # The list's entry itself: a dataset's own get_data_info may do more, e.g. generate the sample.
        info = BaseDataset.get_data_info(dataset, index)
        for key, value in info.items():
            if key.endswith("_path") and isinstance(value, str):
                yield value
            elif key.endswith("_paths"):
                yield from value
