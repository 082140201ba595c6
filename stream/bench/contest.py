"""Contestants: programs that wait for a number on stdin, do so many pictures, and say so.

Each is a process of its own (or one a core), loaded before anything is timed, idle while another runs.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stream.bench.processor import cpu_seconds, family
from stream.errors import PixassayError

READY, DONE = "ready", "done"


@dataclass(frozen=True, slots=True)
class Lap:
    """One timed run of one contestant."""

    pictures: int
    seconds: float
    cpu_seconds: float  # of its own processes

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a picture."""
        return self.cpu_seconds / self.pictures * 1000


class Contestant:
    """Some processes of one program that share the work. A context manager: inside it they run."""

    def __init__(
        self,
        name: str,
        module: str,
        plan: Mapping[str, object],
        folder: Path,
        environment: Mapping[str, str],
        processes: int = 1,
    ) -> None:
        """`plan` is handed to `python -m module` as JSON; the log is <folder>/<name>.log."""
        self.name = name
        self._command = [sys.executable, "-P", "-m", module, json.dumps(plan)]
        self._log, self._environment, self._count = folder / f"{name}.log", environment, processes
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._running.append(self._start())
        try:
            self._all_say(READY)
        except PixassayError:
            self._end()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def processes(self) -> set[int]:
        """The ids of its processes and of what they have started."""
        return {process for each in self._running for process in family(each.pid)}

    def run(self, pictures: int) -> Lap:
        """So many pictures, timed from the word to the last answer."""
        shares = [pictures // self._count] * self._count
        shares[0] += pictures - sum(shares)
        before, began = cpu_seconds(self.processes), time.perf_counter()
        self._tell([str(share) for share in shares])
        self.finish()
        seconds = time.perf_counter() - began
        return Lap(pictures, seconds, cpu_seconds(self.processes) - before)

    def tell(self, line: str) -> None:
        """Give the word to all of its processes."""
        self._tell([line] * self._count)

    def finish(self) -> None:
        """Wait until all are done."""
        self._all_say(DONE)

    def _tell(self, lines: Sequence[str]) -> None:
        for process, line in zip(self._running, lines, strict=True):
            into, _ = _pipes(process)
            into.write(f"{line}\n")
            into.flush()

    def _start(self) -> "subprocess.Popen[str]":
        with self._log.open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def _all_say(self, word: str) -> None:
        for process in self._running:
            _, out = _pipes(process)
            if out.readline().strip() != word:
                last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise PixassayError(f"{self.name} broke off: {' '.join(last) or 'it said nothing'}")

    def _end(self) -> None:
        for process in self._running:
            _pipes(process)[0].close()  # the end of its input is its sign to stop
        for process in self._running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _pipes(process)[1].close()
        self._running.clear()


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("it was started without pipes")
    return process.stdin, process.stdout


def serve(work: Callable[[int], object]) -> None:
    """The other side: do as many pictures as each line of stdin says, until it ends."""
    say(READY)
    for line in sys.stdin:
        work(int(line))
        say(DONE)


def say(word: str) -> None:
    """One word to the parent."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
