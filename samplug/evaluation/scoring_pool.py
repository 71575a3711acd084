"""Worker processes that score while the model continues.

Workers are fresh interpreters that get their tasks through pipes. Forks would inherit the threads of OpenCV and CUDA in
an unknown state, and some of them hung. The methods spawn and forkserver of multiprocessing import the user's main
script again in every worker.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO, Any, ClassVar, Generic, Literal, TypeVar
from weakref import WeakSet

from samplug.utils.errors import ConfigError, UserError
from samplug.utils.open_files import allow_open_files

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

# Below this, starting processes costs more than it saves.
_PATIENCE_S = 0.1
_QUEUE_PER_WORKER = 16


class ScoringWorkerDied(UserError, RuntimeError):
    """A worker process was killed, most likely for lack of memory."""


class ScoringPool(Generic[Key, Result]):
    """Run tasks in the order of their submission and keep their results by key, the last result of each key.

    Pools with the same number of workers share the processes, which end when no pool needs them.

    Args:
        workers: Number of processes; 0: none, tasks run in :meth:`submit`. ``'auto'``: none until a tenth of a second
            has been spent on tasks, then up to four, as cores allow.
    """

    def __init__(self, workers: int | Literal["auto"] = "auto") -> None:
        if workers != "auto" and (not isinstance(workers, int) or workers < 0):
            raise ConfigError(f"workers={workers!r} is not 'auto' or a number of processes")
        self._workers = workers
        self._spent = 0.0
        self._processes: _Processes | None = None
        self._pending: deque[tuple[Key, Future[Result]]] = deque()
        self._results: dict[Key, Result] = {}

    def submit(self, key: Key, task: Callable[..., Result], *args: Any) -> None:
        """Run ``task(*args)``; wait while too many tasks are under way, so that memory stays flat.

        Args:
            key: Key of the result.
            task: Function that can be imported.
            *args: Arguments that can be pickled.

        Raises:
            ScoringWorkerDied: A process was killed.
            Exception: Any error that an earlier task raised.
        """
        if self._processes is None and (self._spent > _PATIENCE_S if self._workers == "auto" else self._workers > 0):
            self._start()
        if self._processes is None:
            start = time.perf_counter()
            self._results[key] = task(*args)
            self._spent += time.perf_counter() - start
            return
        while len(self._pending) >= _QUEUE_PER_WORKER * self._number():
            self._take()
        self._pending.append((key, self._processes.submit(task, *args)))

    def finish(self) -> dict[Key, Result]:
        """Wait for all tasks, return their results, and release the processes.

        Raises:
            ScoringWorkerDied: A process was killed.
            Exception: Any error that a task raised.
        """
        try:
            while self._pending:
                self._take()
            return self._results
        finally:
            self.close()

    def close(self) -> None:
        """Forget everything and release the processes."""
        for _, future in self._pending:
            future.cancel()
        if self._processes:
            self._processes.release(self)
        self._processes, self._results, self._spent = None, {}, 0.0
        self._pending.clear()

    def _start(self) -> None:
        try:
            self._processes = _Processes.acquire(self._number(), self)
        except ConfigError:
            if self._workers != "auto":
                raise
            self._workers = 0

    def _take(self) -> None:
        key, future = self._pending.popleft()
        try:
            self._results[key] = future.result()
        except EOFError as error:
            self.close()
            raise ScoringWorkerDied(
                f"a scoring process died before it returned {key}, most likely for lack of memory: set workers=0, or "
                "fewer workers"
            ) from error

    def _number(self) -> int:
        if self._workers != "auto":
            return self._workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(4, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


class _Processes:
    """Worker processes that several pools share; they end when the last pool releases them."""

    _running: ClassVar[dict[int, "_Processes"]] = {}

    def __init__(self, number: int) -> None:
        # Two pipes per process, and files that starting a process needs.
        allow_open_files(2 * number + 8, 2 * number + 8, f"scoring in {number} processes", "workers=0")
        self._number = number
        self._users: WeakSet[ScoringPool[Any, Any]] = WeakSet()
        self._threads = ThreadPoolExecutor(number)  # a thread waits for each process
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for _ in range(number):
            self._idle.put(_Worker())

    @classmethod
    def acquire(cls, number: int, user: ScoringPool[Any, Any]) -> "_Processes":
        """Return the running processes of this number, or start them."""
        processes = cls._running.get(number) or cls._running.setdefault(number, cls(number))
        processes._users.add(user)
        return processes

    def release(self, user: ScoringPool[Any, Any]) -> None:
        """End the processes if nobody else uses them."""
        self._users.discard(user)
        if self._users:
            return
        del self._running[self._number]
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()

    def submit(self, task: Callable[..., Result], *args: Any) -> Future[Result]:
        """Run ``task(*args)`` in the next idle process; its future raises EOFError if that process is killed."""
        return self._threads.submit(self._run, task, *args)

    def _run(self, task: Callable[..., Result], *args: Any) -> Result:
        worker = self._idle.get()
        try:
            return worker.run(task, *args)
        except EOFError:
            worker.close()
            worker = _Worker()  # for the pools that share it
            raise
        finally:
            self._idle.put(worker)


class _Worker:
    """A process that runs one task after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # Ctrl-C reaches the whole process group; workers ignore it, and the parent closes their pipe.
            [
                sys.executable,
                "-c",
                f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from {__name__} import serve; serve()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Modules that can be imported here can be imported there; a worker has one core.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        )

    def run(self, task: Callable[..., Result], *args: Any) -> Result:
        """Return the task's result or raise its exception; EOFError if the process is gone."""
        request, reply = self._process.stdin, self._process.stdout
        assert request
        assert reply
        message = pickle.dumps((task, args), pickle.HIGHEST_PROTOCOL)  # whole, before anything is sent
        try:
            _send(request, message)
            received = _receive(reply)
        except BrokenPipeError as error:
            raise EOFError from error
        failed, value = pickle.loads(received)  # from our own process
        if failed:
            raise value
        return value

    def close(self) -> None:
        """Close the pipes, and wait until the process ends."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve() -> None:
    """Run tasks from standard input until it ends; text that they print goes to standard error."""
    import cv2

    cv2.setNumThreads(1)
    requests: IO[bytes] = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        while True:
            try:
                request = _receive(requests)
            except EOFError:
                return
            _send(replies, _reply(request))


def _reply(request: bytes) -> bytes:
    """Run a pickled task; return the pickled pair of a flag, True if it failed, and its result or exception."""
    try:
        task, args = pickle.loads(request)
        return pickle.dumps((False, task(*args)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        try:
            message = pickle.dumps((True, error), pickle.HIGHEST_PROTOCOL)
            pickle.loads(message)  # some exceptions cannot be built again
        except Exception:
            text = f"{type(error).__name__}: {error}"
            message = pickle.dumps((True, RuntimeError(f"a scoring process: {text}")), pickle.HIGHEST_PROTOCOL)
        return message


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(8, "little"))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """Read the next message; EOFError if there is none, or only a part of one."""
    length = int.from_bytes(_exactly(stream, 8), "little")
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], number: int) -> bytes:
    read = stream.read(number)
    if len(read) < number:
        raise EOFError
    return read
