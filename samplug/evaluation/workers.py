"""Scoring in worker processes while the model goes on."""

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, Literal, TypeVar

import cv2

from samplug.utils.errors import ConfigError, UserError

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

# Below this, starting processes costs more than it saves.
_PATIENCE_S = 1.0
_QUEUE_PER_WORKER = 4


class WorkerDied(UserError, RuntimeError):
    """A scoring process was ended from outside, most likely for lack of memory."""


class ScoringPool(Generic[Key, Result]):
    """Runs tasks in order of submission and keeps their results by key.

    Args:
        workers: Number of processes; 0: none, tasks run where they are submitted. ``'auto'``: none until a second has been spent on
            tasks, then up to four, as cores allow.
    """

    def __init__(self, workers: int | Literal["auto"] = "auto") -> None:
        if workers != "auto" and (not isinstance(workers, int) or workers < 0):
            raise ConfigError(f"workers={workers!r} is not 'auto' or a number of processes")
        self._workers = workers
        self._spent = 0.0
        self._executor: ProcessPoolExecutor | None = None
        self._pending: deque[tuple[Key, Future[Result]]] = deque()
        self._results: dict[Key, Result] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._results or any(key == waiting for waiting, _ in self._pending)

    def submit(self, key: Key, task: Callable[..., Result], *args: Any) -> None:
        """Run ``task(*args)``; waits while too many are under way, so that memory stays flat."""
        if not self._use_processes():
            start = time.perf_counter()
            self._results[key] = task(*args)
            self._spent += time.perf_counter() - start
            return
        assert self._executor is not None
        while len(self._pending) >= _QUEUE_PER_WORKER * self._number():
            self._take()
        self._pending.append((key, self._executor.submit(task, *args)))

    def finish(self) -> dict[Key, Result]:
        """Wait for all tasks, end the processes, and hand the results over.

        Raises:
            WorkerDied: A process was ended from outside.
            Exception: What a task raised.
        """
        try:
            while self._pending:
                self._take()
            return self._results
        finally:
            self.close()

    def close(self) -> None:
        """End the processes and forget everything."""
        if self._executor:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor, self._results, self._spent = None, {}, 0.0
        self._pending.clear()

    def _take(self) -> None:
        key, future = self._pending.popleft()
        try:
            self._results[key] = future.result()
        except BrokenProcessPool as error:
            self.close()
            raise WorkerDied(
                f"a scoring process died while {key} was waited for, most likely for lack of memory: set workers=0, or fewer"
            ) from error

    def _number(self) -> int:
        if self._workers != "auto":
            return self._workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(4, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))

    def _use_processes(self) -> bool:
        if self._executor is None and (self._spent > _PATIENCE_S if self._workers == "auto" else self._workers > 0):
            # Started as the data loaders' processes are (mp_start_method of the config).
            context = multiprocessing.get_context()
            self._executor = ProcessPoolExecutor(self._number(), context, initializer=cv2.setNumThreads, initargs=(1,))
        return self._executor is not None
