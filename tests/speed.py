"""Speed up runs in tests without changing their results."""

import gc


def freeze_imports() -> None:
    """Exclude the objects that exist now from garbage collection.

    MMEngine collects garbage whenever it builds a dataset. With torch, mmdet and transformers imported that takes a
    third of a second.
    """
    gc.collect()
    gc.freeze()
