"""Notify hooks of a run that ends with an exception; MMEngine notifies them of regular ends only."""

import functools
from collections.abc import Callable
from typing import Any

from mmengine.runner import BaseLoop, Runner


def on_failure(runner: Runner, act: Callable[[BaseException], None]) -> None:
    """Call ``act`` with the exception, ``KeyboardInterrupt`` included, that ends a run, before it reaches the caller.

    Call this in ``before_run``. It covers the steps of a Runner after that: reading weights and running loops. A
    validation that fails within a training calls ``act`` twice.
    """
    steps: list[tuple[Any, str]] = [(runner, "_init_model_weights"), (runner, "load_or_resume")]
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    steps += [(loop, "run") for loop in loops if isinstance(loop, BaseLoop)]
    for owner, name in steps:
        setattr(owner, name, _watched(getattr(owner, name), act))


def _watched(step: Callable[..., Any], act: Callable[[BaseException], None]) -> Callable[..., Any]:
    @functools.wraps(step)
    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return step(*args, **kwargs)
        except BaseException as error:
            act(error)
            raise

    return watched
