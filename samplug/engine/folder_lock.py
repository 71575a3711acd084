"""Lock a folder that processes on several machines may share, as on a network drive.

The lock is a file that only one process can create. It names its owner, so that locks of killed processes are detected:
on the same machine by the process, on other machines by a heartbeat. The lock needs neither ``flock``, which network
drives may lack, nor synchronous clocks.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from samplug.utils.errors import ConfigError
from samplug.utils.files import WriteError

_BEAT_S = 10.0
# Longer than network drives cache the times of files (a minute by default).
_WATCH_S = 75.0
_GUARD_S = 5.0  # age above which a guard belongs to a killed process


class FolderLock:
    """Lock on a folder, held from :meth:`acquire` to :meth:`release`.

    Args:
        path: Lock file, in an existing folder.
        what: Name of the locked activity for messages, such as ``'training'``.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        self._owner = {**_this_process(), "token": uuid4().hex}
        self._stop = threading.Event()

    def acquire(self) -> None:
        """Create the lock file; replace a lock file whose owner no longer runs.

        An owner on another machine is watched for 75 seconds, since its heartbeat comes every ten seconds.

        Raises:
            ConfigError: Another process holds the lock.
            WriteError: The lock file cannot be written.
        """
        while not self._create():
            owner = _read(self.path)
            if owner is not None:
                if not self._is_gone(owner):
                    raise ConfigError(self._message(owner))
                self._clear(owner)
        threading.Thread(target=self._beat, name="folder lock", daemon=True).start()

    def release(self) -> None:
        """Remove the lock file if it still belongs to this process."""
        self._stop.set()
        owner = _read(self.path)
        if owner and owner.get("token") == self._owner["token"]:
            with suppress(OSError):
                self.path.unlink()

    def check(self) -> None:
        """Check that no other process has taken the lock, for example while this process was suspended.

        Raises:
            ConfigError: Another process holds the lock.
        """
        owner = _read(self.path)
        if owner and owner.get("token") != self._owner["token"]:
            raise ConfigError(
                f"work_dir: {_described(owner)} has taken over {self.path.parent}, since this process did not respond "
                f"for over a minute: this {self.what} stops here, since both would write the same files"
            )

    def _create(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise WriteError.of(self.path, error) from error
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._owner, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise WriteError.of(self.path, error) from error
        return True

    def _is_gone(self, owner: Mapping[str, Any]) -> bool:
        if _is_here(owner, self._owner):
            return not _is_running(owner)
        return not self._beats(owner)

    def _beats(self, owner: Mapping[str, Any]) -> bool:
        """Watch the lock of another machine; return True if its owner still runs."""
        print(
            f"work_dir: {self.path} is of {_described(owner)}: watching for {_WATCH_S:.0f} s whether it still runs",
            flush=True,
        )
        before, end = _time(self.path), time.monotonic() + _WATCH_S
        while time.monotonic() < end:
            time.sleep(min(1.0, _WATCH_S / 10))
            if _time(self.path) != before:
                return _read(self.path) is not None
        return False

    def _clear(self, gone: Mapping[str, Any]) -> None:
        """Remove the lock of an owner that no longer runs; a guard lets only one process check again and remove it."""
        guard = self.path.with_name(f"{self.path.name}.clearing")
        try:
            os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            end = time.monotonic() + _GUARD_S
            while guard.exists() and time.monotonic() < end:
                time.sleep(0.02)
            if time.monotonic() < end:
                return
        except OSError as error:
            raise WriteError.of(self.path, error) from error
        if _read(self.path) == gone:
            self.path.unlink(missing_ok=True)
        guard.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_S):
            with suppress(OSError):  # a network drive may be unavailable for a while
                os.utime(self.path)

    def _message(self, owner: Mapping[str, Any]) -> str:
        return (
            f"work_dir: {_described(owner)} runs in {self.path.parent}: wait for it, stop it, or choose another "
            f"--work-dir (if it no longer runs, remove {self.path})"
        )


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        # Process ids are reused, and host names may repeat on other machines or in other containers.
        "process": _process(os.getpid())[1],
        "machine": [_text("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")],
    }


def _is_here(owner: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Return True if the owner's process id is valid on this machine."""
    return os.name != "nt" and all(owner.get(key) == own[key] for key in ("host", "machine"))


def _is_running(owner: Mapping[str, Any]) -> bool:
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process belongs to another user
        return True
    state, started = _process(owner["pid"])
    return state not in ("Z", "X") and started == owner.get("process")


def _process(pid: int) -> tuple[str | None, str | None]:
    """Return state and start time of a process from Linux's /proc; None where they cannot be read."""
    text = _text(f"/proc/{pid}/stat")
    if text is None:
        return None, None
    fields = text.rpartition(")")[2].split()  # the preceding name may contain spaces
    return fields[0], fields[19]


def _described(owner: Mapping[str, Any]) -> str:
    if "pid" not in owner:
        return "another training"
    return f"the training of process {owner['pid']} on {owner.get('host')}, started {owner.get('started')},"


def _read(path: Path) -> dict[str, Any] | None:
    """Return the owner of a lock, or only the file's time if the owner is not readable; None without a lock."""
    for _ in range(10):  # a lock is empty for a moment after its creation
        try:
            owner = json.loads(path.read_bytes())
            if isinstance(owner, dict) and isinstance(owner.get("pid"), int):
                return owner
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    return {"unreadable": _time(path)}


def _time(path: Path) -> int | None:
    """Return the time of a file; None if there is none."""
    # Opening makes network drives ask their server; another user's file may not be opened.
    with suppress(OSError), path.open("rb"):
        pass
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
