"""One server process: started in its own session, asked until it answers, stopped, never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stream.errors import ConfigError

_LAUNCH = Path(__file__).with_name("launch.py")
_POLL_S = 0.02

# The kernel sends the death signal when the *thread* that started the child ends, so one thread
# that lives as long as this process starts them all, whichever thread asks.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-start")


@dataclass(frozen=True, slots=True)
class User:
    """Whom a server runs as."""

    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)


@dataclass(slots=True)
class Child:
    """A program and how to end it. `name` is for people: it opens every error message."""

    name: str
    command: Sequence[str | Path]
    folder: Path  # working directory; the log lies in it
    environment: Mapping[str, str] | None = None  # None: only PATH, HOME and a UTF-8 locale
    user: User = field(default_factory=User)
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # when the parent dies, however it dies
    grace_s: float = 5.0  # from the stop signal to SIGKILL
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int:
        """Process id. Raises ConfigError where it does not run."""
        if self._process is None:
            raise ConfigError(f"{self.name} is not running")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it. It counts as ready only after `wait_until`."""
        self._process = _starter.submit(self._spawn).result()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        numbers = (os.getpid(), self.death_signal, self.user.uid, self.user.gid)
        launcher = [sys.executable, "-I", "-S", str(_LAUNCH), *(str(int(number)) for number in numbers)]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launcher, *(str(part) for part in self.command)],
                cwd=self.folder,
                env=own_environment(self.folder) if self.environment is None else dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we stop it in order
            )

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Ask until it answers. Raises ConfigError with its last words where it exits or stays silent."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.exit_code is not None:
                raise ConfigError(f"{self.name} ended too early (exit {self.exit_code}): {self.last_words()}")
            if time.monotonic() > deadline:
                raise ConfigError(f"{self.name} did not answer in {timeout_s:g} s: {self.last_words()}")
            time.sleep(_POLL_S)

    def wait_to_finish(self, timeout_s: float = 120.0) -> None:
        """For a program that ends by itself. Raises ConfigError where it fails or takes too long."""
        self.wait_until(lambda: self.exit_code == 0, timeout_s)
        self.stop()

    def stop(self) -> None:
        """End it and wait for its end. Does nothing where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self.stop_signal)
        try:
            process.wait(self.grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill(self) -> None:
        """SIGKILL to the whole session, as a crash would look. Waits for its end."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered. Returns once all of its threads stand."""
        os.killpg(self.pid, signal.SIGSTOP)
        self.wait_until(lambda: _stands(self.pid), timeout_s=10.0)

    def resume(self) -> None:
        """Let it go on where it was frozen."""
        os.killpg(self.pid, signal.SIGCONT)

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it wrote nothing to {self.log}"


def _stands(pid: int) -> bool:
    """Whether every thread of a process is stopped (proc(5), state T). Signals are not obeyed at once."""
    states = set[str]()
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended since it was listed
            states.add(file.read_text().rpartition(")")[2].split()[0])
    return states <= {"T", "t", "Z"}


def own_environment(folder: Path) -> dict[str, str]:
    """A server's environment: nothing of ours leaks in, and it writes nothing into a home directory."""
    return {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}
