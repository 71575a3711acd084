"""MMEngine's methods that samplug copies, or whose order it relies on, are those that it was written for."""

import hashlib
import inspect

import pytest
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, ParamSchedulerHook, RuntimeInfoHook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator

from tests.conftest import ROOT

# Upstream code, the file of samplug to compare with it, and the first digits of the sha256 of its source.
PINS = [
    (CheckpointHook._save_checkpoint_with_step, "hooks/checkpoint.py", "cdbc1b54c7c88d95"),
    (CheckpointHook._save_best_checkpoint, "hooks/checkpoint.py", "8e1e477297ea08d7"),
    (EarlyStoppingHook._check_stop_condition, "hooks/early_stopping.py", "64bd572ba22d0839"),
    (ParamSchedulerHook.after_val_epoch, "hooks/param_scheduler.py", "b7f3a73be457ca6f"),
    (RuntimeInfoHook.after_train_iter, "hooks/deferred_losses.py", "fc41c84b6a477b39"),
    (EpochBasedTrainLoop.run, "loops.py", "51ae20508b4d459f"),
    (EpochBasedTrainLoop.run_epoch, "loops.py", "5a9b993c3e9727d4"),
    (IterBasedTrainLoop.run, "loops.py", "350c6a36c93e0055"),
    (_InfiniteDataloaderIterator, "loops.py", "c3dc413dc809abe0"),
    (AmpOptimWrapper.__init__, "optim.py", "36ef25493b8370c3"),
    (AmpOptimWrapper.load_state_dict, "optim.py", "256bf224f6eaaafa"),
    (AmpOptimWrapper.optim_context, "optim.py", "3a1064c2e89d859a"),
    (Runner.train, "runner.py", "98de231f177d0396"),
    (Runner.wrap_model, "runner.py", "911e07389b6923ff"),
    (Runner.load_or_resume, "runner.py", "9c653d074f921631"),
    (Runner.resume, "runner.py", "30cc2d3b4e1afabd"),
    (Runner.save_checkpoint, "runner.py", "e154ecbf826a9ba6"),
    (Registry.build, "build_errors.py", "5d3223789ad0c7a2"),
]


@pytest.mark.parametrize(("upstream", "file", "digest"), PINS, ids=lambda value: getattr(value, "__qualname__", None))
def test_upstream_is_unchanged(upstream, file, digest):
    assert (ROOT / "samplug/engine" / file).is_file()
    found = hashlib.sha256(inspect.getsource(upstream).encode()).hexdigest()[:16]
    assert found == digest, (
        f"{upstream.__module__}.{upstream.__qualname__} has changed: compare it with samplug/engine/{file}, change that if need be, and "
        f"put {found} here"
    )
