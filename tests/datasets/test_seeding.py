"""Augmentation is a function of (seed, epoch, sample)."""

import copy
import hashlib
import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from torch.utils.data import SequentialSampler, Subset

from samplug.commands.common import build_runner
from samplug.config import load_config
from samplug.datasets.seeding import SeededDataset, SeededIndex, SeededSampler
from samplug.engine.runner import SamplugRunner
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.shrink import shrink

PIPELINE = [
    dict(type="LoadImage"),
    dict(type="LoadBinaryMask"),
    dict(type="mmseg.RandomCrop", crop_size=(24, 24)),
    dict(type="mmseg.RandomFlip", prob=0.5),
    dict(type="mmseg.PhotoMetricDistortion"),
    dict(type="mmseg.PackSegInputs"),
]
SCENES = dict(type="CamouflageSceneDataset", length=7, size=32, pipeline=PIPELINE)
DEFAULT = dict(type="DefaultSampler", shuffle=True)
INFINITE = dict(type="InfiniteSampler", shuffle=True)


class Drawing(list):
    """Samples that are drawn by a function."""

    def __init__(self, draw):
        self.draw = draw

    def __getitem__(self, index):
        return self.draw()


class Generators:
    """Each sample holds its index and a number from each of the generators."""

    metainfo = dict(classes=("a",))

    def __len__(self):
        return 7

    def __getitem__(self, index):
        assert type(index) is int
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def hashed(sample) -> str:
    content = sample["inputs"].numpy().tobytes() + sample["data_samples"].gt_sem_seg.data.numpy().tobytes()
    return hashlib.sha256(content).hexdigest()


def build(dataset=SCENES, sampler=DEFAULT, seed=3, batch_size=2, num_workers=0, **kwargs):
    cfg = dict(dataset=dataset, sampler=sampler, batch_size=batch_size, num_workers=num_workers, **kwargs)
    return SamplugRunner.build_dataloader(cfg, seed=seed)


def stream(loader, samples) -> list[str]:
    """Hashes of the first samples, in the loader's order."""
    result: list[str] = []
    for batch in loader:
        pairs = zip(batch["inputs"], batch["data_samples"], strict=True)
        result += [hashed(dict(inputs=image, data_samples=sample)) for image, sample in pairs]
        if len(result) >= samples:
            break
    return result[:samples]


@pytest.fixture
def ranks(monkeypatch):
    """Call it to become a rank of a group."""

    def become(rank, world_size):
        for module in ("mmengine.dataset.sampler", "samplug.datasets.seeding"):
            monkeypatch.setattr(f"{module}.get_dist_info", lambda: (rank, world_size))

    return become


@pytest.mark.parametrize("sampler", [DEFAULT, INFINITE])
def test_workers_and_batches_change_nothing(sampler):
    expected = stream(build(sampler=sampler), 7)
    assert len(set(expected)) == 7
    for changes in (dict(num_workers=1), dict(num_workers=3), dict(batch_size=5), dict(num_workers=3, batch_size=1)):
        assert stream(build(sampler=sampler, **changes), 7) == expected, changes
    assert stream(build(sampler=sampler, seed=4), 7) != expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epochs_differ_and_persistent_workers_follow(num_workers):
    loader = build(num_workers=num_workers, persistent_workers=num_workers > 0, sampler=dict(DEFAULT, shuffle=False))
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        epochs.append(stream(loader, 7))
    assert not set(epochs[0]) & set(epochs[1])
    assert epochs[2] == epochs[0]


@pytest.mark.parametrize(("sampler", "samples"), [(dict(DEFAULT, round_up=False), 7), (INFINITE, 18)])
def test_ranks_share_the_draws(ranks, sampler, samples):
    alone = stream(build(sampler=sampler), samples)
    together = [""] * samples
    for rank in (0, 1):
        ranks(rank, 2)
        share = len(together[rank::2])
        together[rank::2] = stream(build(sampler=sampler), share)
    assert together == alone


def test_endless_sampler_counts_passes():
    draws = list(islice(SeededSampler(INFINITE, range(5), seed=0), 15))
    assert [draw.epoch for draw in draws] == [0] * 5 + [1] * 5 + [2] * 5
    assert sorted(draws[:5]) == sorted(draws[5:10]) == list(range(5))


def test_skipped_stream_goes_on():
    whole = stream(build(sampler=INFINITE), 20)
    loader = build(sampler=INFINITE, num_workers=2)
    loader.sampler.skip(11)
    assert stream(loader, 9) == whole[11:]


def test_position_follows_a_sampler_that_goes_on_with_each_iter():
    class Counting:
        def __init__(self):
            self.numbers = iter(range(100))

        def __iter__(self):
            return self.numbers

    sampler = SeededSampler(Counting(), range(3))
    first, second = list(islice(sampler, 2)), list(islice(sampler, 3))
    assert [(int(draw), draw.epoch) for draw in first + second] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)]


def test_sampler_has_what_its_sampler_has():
    sampler = SeededSampler(DEFAULT, range(5), seed=0)
    sampler.set_epoch(4)
    assert (sampler.epoch, sampler.shuffle, len(sampler)) == (4, True, 5)
    assert [draw.epoch for draw in sampler] == [4] * 5
    assert not hasattr(sampler, "skip")  # MMEngine steps instead
    assert hasattr(SeededSampler(INFINITE, range(5), seed=0), "skip")


def test_every_part_of_the_key_counts():
    dataset = SeededDataset(Generators(), seed=3)
    values = [dataset[SeededIndex(index, epoch)] for epoch in range(3) for index in range(7)]
    values += [SeededDataset(Generators(), seed=4)[index] for index in range(7)]
    for generator in (1, 2, 3):
        assert len({value[generator] for value in values}) == 28
    assert len({number for value in values for number in value[1:]}) == 3 * 28  # no generator repeats another
    assert dataset[5] == dataset[SeededIndex(5, 0)]
    assert dataset[np.int64(5)] == dataset[5]


def test_global_generators_are_left_alone():
    def states():
        return random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()

    before = states()
    dataset = SeededDataset(Generators(), seed=3)
    dataset[2]
    assert states() == before

    class Broken(Generators):
        def __getitem__(self, index):
            super().__getitem__(index)
            raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        SeededDataset(Broken(), seed=3)[2]
    assert states() == before


@pytest.mark.parametrize(
    ("draw", "random_numbers"),
    [
        (lambda: 0, False),
        (random.random, True),
        (lambda: random.gauss(0, 1), True),
        (lambda: np.random.choice(2), True),
        (np.random.normal, True),
        (lambda: torch.rand(1), True),
        (lambda: np.random.default_rng(0).random(), False),  # no seeded generator
    ],
)
def test_draws_are_noticed(draw, random_numbers):
    dataset = SeededDataset(Drawing(draw), seed=3)
    before = random.getstate()
    assert dataset.with_randomness(1)[1] is random_numbers
    assert random.getstate() == before
    assert dataset.with_randomness(1)[0] == dataset[1]


def test_dataset_is_otherwise_the_wrapped_one():
    dataset = DATASETS.build(dict(SCENES, seed=9))
    wrapped = SeededDataset(dataset, seed=3)
    assert (len(wrapped), wrapped.metainfo, wrapped.seed) == (7, dataset.metainfo, 9)
    for twin in (copy.copy(wrapped), copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        assert hashed(twin[4]) == hashed(wrapped[4])
    wrapped.pipeline = "another"  # as mmdet's PipelineSwitchHook
    assert dataset.pipeline == "another"
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = wrapped.colour
    # torch's Subset fetches whole batches: that would go past the seeds.
    assert not hasattr(SeededDataset(Subset(dataset, [1]), seed=3), "__getitems__")


def test_draw_survives_the_way_to_a_worker():
    for draw in (pickle.loads(pickle.dumps(SeededIndex(5, 2))), copy.deepcopy(SeededIndex(5, 2))):
        assert (draw, draw.epoch, repr(draw)) == (5, 2, "SeededIndex(5, epoch=2)")


@pytest.mark.parametrize(
    "dataset",
    [
        dict(type="ConcatDataset", datasets=[dict(SCENES, length=3), dict(SCENES, length=4, seed=1)]),
        dict(type="RepeatDataset", dataset=dict(SCENES, length=3), times=3),
        dict(type="ConcatDataset", datasets=[dict(SCENES, length=3), dict(SCENES, length=3)]),
    ],
)
def test_wrapped_datasets(dataset):
    expected = stream(build(dataset), 6)
    assert len(set(expected)) == 6  # repeated scenes are drawn anew
    assert stream(build(dataset, num_workers=2, batch_size=4), 6) == expected


def test_batch_samplers_find_images_by_draws():
    @DATASETS.register_module(name="SizedScenes", force=True)
    class SizedScenes(BaseDataset):
        def load_data_list(self):
            return [dict(width=10 + index % 2 * 20, height=20) for index in range(8)]

    init_default_scope("samplug")
    grouped = dict(type="mmdet.AspectRatioBatchSampler")
    loader = build(dict(type="SizedScenes"), batch_sampler=grouped)
    batches = [list(batch) for batch in loader.batch_sampler]
    assert sorted(index for batch in batches for index in batch) == list(range(8))
    assert all(len({index % 2 for index in batch}) == 1 for batch in batches)
    loader.batch_sampler.sampler.set_epoch(3)
    assert {draw.epoch for batch in loader.batch_sampler for draw in batch} == {3}


def test_sliced_epochs_and_samplers_given_as_objects():
    assert len(build(num_batch_per_epoch=2)) == 2
    dataset = DATASETS.build(SCENES)
    loader = build(dataset, sampler=SequentialSampler(dataset))
    assert stream(loader, 7) == [hashed(loader.dataset[index]) for index in range(7)]
    assert SamplugRunner.build_dataloader(loader) is loader
    with pytest.raises(ConfigError, match="needs a sampler"):
        build(sampler=None)


class Recorder(Hook):
    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append(stream([data_batch], 9))


def trained(tmp_path, num_workers=0, train_cfg=None, **changes):
    """Hashes of what a training is fed."""
    cfg = shrink(load_config(ROOT / "configs/quickstart.py"), tmp_path, tmp_path)
    cfg.train_dataloader.update(num_workers=num_workers, persistent_workers=num_workers > 0)
    cfg.train_dataloader.dataset.pipeline = [*PIPELINE[:2], dict(PIPELINE[2], crop_size=(32, 32)), *PIPELINE[3:]]
    cfg.train_cfg = train_cfg or dict(type="IterBasedTrainLoop", max_iters=5)
    cfg.merge_from_dict(changes)
    runner = build_runner(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    return recorder.batches


def test_training_is_fed_the_same(tmp_path):
    expected = trained(tmp_path)
    assert len({image for batch in expected for image in batch}) == 10  # five batches of two: 2.5 passes over 4 scenes
    assert trained(tmp_path, num_workers=2) == expected
    resumed = trained(tmp_path, num_workers=2, resume=True, load_from=str(tmp_path / "iter_3.pth"))
    assert resumed == expected[3:]


def test_training_by_epochs_is_fed_the_same(tmp_path):
    by_epoch = {
        "train_cfg": dict(type="EpochBasedTrainLoop", max_epochs=3),
        "train_dataloader.sampler.type": "DefaultSampler",
        "default_hooks.checkpoint.by_epoch": True,
        "log_processor.by_epoch": True,
    }
    expected = trained(tmp_path, **by_epoch)
    assert len({image for batch in expected for image in batch}) == 12
    # Resumed with workers that persist over two epochs.
    resumed = trained(tmp_path, num_workers=2, resume=True, load_from=str(tmp_path / "epoch_1.pth"), **by_epoch)
    assert resumed == expected[2:]
