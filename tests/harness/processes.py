"""`pixassay` as people start it: commands that end by themselves, and workers that run until ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from stream.embedded.process import Child
from stream.settings import PREFIX, Settings

COMMAND = (sys.executable, "-P", "-m", "stream")


def variables(settings: Settings) -> dict[str, str]:
    """The PIXASSAY_* variables that make these settings."""
    return {
        f"{PREFIX}{name.upper()}": _written(getattr(settings, name)) for name in settings.model_fields_set
    }


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def pixassay(settings: Settings, *words: str, timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
    """One command, to its end."""
    environment = {**os.environ, **variables(settings), "COLUMNS": "200"}
    return subprocess.run(
        [*COMMAND, *words], env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


class WorkerProcess:
    """`pixassay worker`. Ends with this process at the latest."""

    def __init__(self, settings: Settings, folder: Path, name: str = "worker") -> None:
        """The log is <folder>/<name>.log."""
        command = (*COMMAND, "worker")
        self.name = name
        self._child = Child(name, command, folder, {**os.environ, **variables(settings)}, grace_s=60)

    def start(self) -> None:
        """Start it, without waiting for it."""
        self._child.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.exit_code is None

    @property
    def ready(self) -> bool:
        """Whether it has said that it takes part in the group."""
        return " ready: " in self.log

    @property
    def log(self) -> str:
        return self._child.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """kill -9 of the worker alone, at once: nobody tells its decoding processes."""
        os.kill(self._child.pid, signal.SIGKILL)
        self._wait(10)

    def leave(self, timeout_s: float = 60) -> int:
        """SIGTERM: the exit status. Raises TimeoutError."""
        os.kill(self._child.pid, signal.SIGTERM)
        return self._wait(timeout_s)

    def stop(self) -> None:
        """End it, however it is."""
        self._child.stop()

    def decoders(self) -> set[int]:
        """The ids of its decoding processes."""
        return children(self._child.pid)

    def _wait(self, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while (code := self._child.exit_code) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker did not end in {timeout_s:g} s: {self._child.last_words()}")
            time.sleep(0.02)
        return code


def children(parent: int) -> set[int]:
    """The ids of the processes that `parent` has started and that run."""
    running = ((int(folder.name), _parent(folder)) for folder in Path("/proc").glob("[0-9]*"))
    return {process for process, its_parent in running if its_parent == parent}


def runs(process: int) -> bool:
    """Whether there is a process of this id that has not ended."""
    return _parent(Path(f"/proc/{process}")) is not None


def _parent(folder: Path) -> int | None:
    """The parent of the process behind a folder of /proc; None where it has ended, reaped or not."""
    try:
        state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def eventually(reached: Callable[[], bool], what: str, timeout_s: float = 60, pause_s: float = 0.05) -> None:
    """Wait for a state that nobody announces. Raises TimeoutError naming it."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(pause_s)
