"""Build DataLoaders whose augmentation is a function of (seed, epoch, sample)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import sync_random_seed
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from samplug.datasets.seeding import SeededDataset, SeededSampler
from samplug.engine.build_errors import part
from samplug.utils.errors import ConfigError
from samplug.utils.open_files import allow_open_files


def build_seeded_dataloader(
    dataloader: DataLoader | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
) -> DataLoader:
    """Build a DataLoader with a :class:`SeededDataset` and a :class:`SeededSampler`.

    Args:
        dataloader: Config of a DataLoader. A DataLoader is returned unchanged, without seeded augmentation.
        seed: Seed of samplers and augmentation; None: a random seed, the same in all ranks.
        diff_rank_seed: True if ``seed`` differs between ranks; samplers and augmentation then get a common random seed.

    Raises:
        ConfigError: The config has no sampler, two of its datasets in different folders have the same name, or the
            system does not allow as many open files as the workers need.
    """
    if isinstance(dataloader, DataLoader):
        return dataloader
    if dataloader.get("sampler") is None:
        raise ConfigError("data: a dataloader needs a sampler, e.g. sampler=dict(type='DefaultSampler', shuffle=True)")
    _check_open_files(dataloader)
    common = sync_random_seed() if seed is None or diff_rank_seed else seed
    wrapped = {
        **dataloader,
        "dataset": dict(type=SeededDataset, dataset=dataloader["dataset"], seed=common),
        "sampler": dict(type=SeededSampler, sampler=dataloader["sampler"]),
        # Starting workers draws a random number; with a generator of its own it does not change the model's numbers.
        "generator": torch.Generator().manual_seed(common),
    }
    with part(wrapped, DataLoader):
        loader = Runner.build_dataloader(wrapped, seed, diff_rank_seed)
    _check_names(getattr(loader.dataset, "datasets", ()))
    return loader


def _check_open_files(cfg: dict[str, Any]) -> None:
    """Check the limit of open files: four per worker, and one per tensor of a batch until it is freed."""
    if workers := cfg.get("num_workers") or 0:
        batch = cfg.get("batch_size") or 1
        waiting = workers * (cfg.get("prefetch_factor") or 2) + 1
        fixed = 4 * workers + 16
        allow_open_files(
            fixed + 2 * batch,
            fixed + 4 * batch * waiting,
            f"data: num_workers={workers} with batch_size={batch}",
            "num_workers=0 in the dataloaders",
        )


def _check_names(datasets: Iterable[Any]) -> None:
    """Stop if two datasets in different folders have the same name, as their scores would share a row."""
    folders: dict[str, Path] = {}
    for dataset in datasets:
        name, folder = getattr(dataset, "name", None), getattr(dataset, "image_dir", None)
        if name is not None and folder is not None and folders.setdefault(name, folder) != folder:
            raise ConfigError(
                f"data: {folders[name]} and {folder} are both called {name!r}, and would share a row of metrics: give "
                "each dataset a name=..."
            )
