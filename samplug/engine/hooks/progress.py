"""Show the progress of a run on a terminal."""

import contextlib
import logging
import os
import sys
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from samplug.engine.hooks.on_failure import on_failure
from samplug.registry import HOOKS

_SECONDS_BETWEEN_DRAWINGS = 0.1


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show the progress of the train, val and test loop in a line on the terminal.

    The line has the epoch, iterations, last logged loss, rate and remaining time. Logged and printed lines appear above
    it. The hook does nothing where neither stdout nor stderr is a terminal, and in all ranks but the first. If the line
    cannot be drawn, the run continues without it.

    The remaining time assumes the loop's present rate; a training's does not include later validations.

    Args:
        enabled: False switches the hook off.
    """

    priority = "LOWEST"  # after LoggerHook, so that a log line and the line below it agree

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._line: _ProgressLine | None = None

    def before_run(self, runner: Runner) -> None:
        on_failure(runner, lambda _: self._close())

    def before_train(self, runner: Runner) -> None:
        self._begin("train", runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        if self._line is None:
            return
        epochs = f" epoch {runner.epoch + 1}/{runner.max_epochs}" if runner.max_epochs > 1 else ""
        loss = runner.message_hub.log_scalars.get("train/loss")  # of the last log line: no wait for the GPU
        self._show("train", runner.iter + 1, f"train{epochs}", "" if loss is None else f"loss {loss.current():.4g}")

    def after_train(self, runner: Runner) -> None:
        self._end("train")

    def before_val(self, runner: Runner) -> None:
        self._begin("val", len(runner.val_dataloader))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._show("val", batch_idx + 1)

    def after_val(self, runner: Runner) -> None:
        self._end("val")

    def before_test(self, runner: Runner) -> None:
        self._begin("test", len(runner.test_dataloader))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._show("test", batch_idx + 1)

    def after_test(self, runner: Runner) -> None:
        self._end("test")

    def _begin(self, loop: str, total: int, done: int = 0) -> None:
        if self._line is None and self.enabled and is_main_process() and (terminal := _terminal()):
            self._guarded(self._open, terminal)
        if self._line:
            self._guarded(self._line.begin, loop, total, done)

    def _open(self, terminal: TextIO) -> None:
        self._line = _ProgressLine(terminal)

    def _show(self, loop: str, done: int, title: str = "", note: str = "") -> None:
        if self._line:
            self._guarded(self._line.show, loop, done, title or loop, note)

    def _end(self, loop: str) -> None:
        if self._line:
            self._guarded(self._line.end, loop)
            if self._line and not self._line.loops:
                self._close()

    def _guarded(self, draw: Any, *args: Any) -> None:
        try:
            draw(*args)
        except Exception as error:  # e.g. the terminal was closed or lacks the characters
            self._close()
            print_log(f"progress: the line can no longer be drawn: {error!r}", "current", logging.WARNING)

    def _close(self) -> None:
        if self._line:
            line, self._line = self._line, None
            line.close()


class _ProgressLine:
    """A line for each open loop at the bottom of a terminal, until closed.

    The methods draw it; there is no drawing thread, since a loader that forks its workers would copy the locks that the
    thread holds.
    """

    def __init__(self, terminal: TextIO) -> None:
        self.loops: dict[str, Any] = {}
        self._drawn = 0.0
        console = Console(file=terminal, force_terminal=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            _RateColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.start()
        self._streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
        above = {id(stream): _Above(stream, console) for stream in self._streams.values() if _is_terminal(stream)}
        self._handlers = [(handler, handler.stream) for handler in _stream_handlers() if id(handler.stream) in above]
        for name, stream in self._streams.items():
            setattr(sys, name, above.get(id(stream), stream))
        for handler, stream in self._handlers:
            handler.setStream(above[id(stream)])

    def begin(self, loop: str, total: int, done: int) -> None:
        self.loops[loop] = self._progress.add_task(loop, total=total, completed=done, note="")
        self._progress.refresh()

    def show(self, loop: str, done: int, title: str, note: str) -> None:
        self._progress.update(self.loops[loop], completed=done, description=title, note=note)
        now = self._progress.get_time()
        if now - self._drawn >= _SECONDS_BETWEEN_DRAWINGS:
            self._drawn = now
            self._progress.refresh()

    def end(self, loop: str) -> None:
        self._progress.remove_task(self.loops.pop(loop))
        self._progress.refresh()

    def close(self) -> None:
        """Restore the streams; text that a closed terminal no longer takes is dropped."""
        with contextlib.suppress(Exception):
            self._progress.stop()
        for handler, stream in self._handlers:
            handler.setStream(stream)
        for name, stream in self._streams.items():
            above = getattr(sys, name)
            if isinstance(above, _Above):  # otherwise other code has replaced the stream since
                setattr(sys, name, stream)
                with contextlib.suppress(Exception):
                    above.finish()


class _Above:
    """Replacement of a terminal's stream that writes whole lines, of any length, above the progress line."""

    def __init__(self, stream: TextIO, console: Console) -> None:
        self._stream, self._console = stream, console
        self._rest = ""
        self._process = os.getpid()

    def write(self, text: str) -> int:
        if os.getpid() != self._process:  # a forked worker, which has no progress line
            return self._stream.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._console.print(Text.from_ansi(line), soft_wrap=True, highlight=False)
        return len(text)

    def finish(self) -> None:
        """Write a last line that has no line break yet."""
        rest, self._rest = self._rest, ""
        if rest:
            self._stream.write(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _RateColumn(ProgressColumn):
    """Iterations per second, or seconds per iteration if they take more than a second."""

    def render(self, task: Task) -> Text:
        if not task.speed:
            return Text("- it/s")
        return Text(f"{task.speed:.3g} it/s" if task.speed >= 1 else f"{1 / task.speed:.3g} s/it")


def _terminal() -> TextIO | None:
    """Return the stream to draw on: stdout if it is a terminal, else stderr; None if neither is."""
    if os.environ.get("TERM") == "dumb":
        return None
    return next(filter(_is_terminal, (sys.stdout, sys.stderr)), None)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _stream_handlers() -> list["logging.StreamHandler[Any]"]:
    """Return the stream handlers of MMEngine's loggers (``logging`` does not list them) and of the root logger."""
    from mmengine.logging import MMLogger

    loggers = [*MMLogger._instance_dict.values(), logging.getLogger()]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [handler for handler in handlers.values() if isinstance(handler, logging.StreamHandler)]
