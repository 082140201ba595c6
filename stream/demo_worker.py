"""The demonstration's worker: `pixassay worker` as a process of its own, and a watch over its outcomes."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stream.demo_upload import TENANT, Sent
from stream.embedded import Stack
from stream.embedded.process import Child
from stream.errors import PixassayError
from stream.queries import History, Row
from stream.settings import child_environment

_STUCK_S = 120.0  # longest time without any outcome
_POLL_S = 0.2
# A new member of a group waits for half of the session time-out on the embedded broker.
_QUICK_JOIN = {"PIXASSAY_SESSION_TIMEOUT_S": "6"}


def worker_process(folder: Path, stack: Stack) -> Child:
    """A worker pointed at the running parts; not started. SIGTERM lets it drain and commit."""
    quick = _QUICK_JOIN if "PIXASSAY_KAFKA_BOOTSTRAP" in stack.variables else {}
    environment = child_environment({**quick, **stack.variables})
    command = [sys.executable, "-P", "-m", "stream", "worker"]
    return Child("Worker", command, folder, environment=environment, grace_s=60.0)


@dataclass(slots=True)
class Watch:
    """Looks into the database until every record of the run has its outcome."""

    history: History
    bundle: str
    sent: list[Sent]
    bad: int  # records that will become dead letters
    old_letters: set[int]  # ids of the dead letters that were there before
    rows: list[Row] = field(default_factory=list)
    letters: list[Row] = field(default_factory=list)

    @property
    def expected(self) -> int:
        return len(self.sent) + self.bad

    @property
    def done(self) -> int:
        return len(self.rows) + len(self.letters)

    @property
    def counts(self) -> Counter[str]:
        """Outcomes so far by kind."""
        return Counter(row["verdict"] for row in self.rows) + Counter({"dead_letters": len(self.letters)})

    def until_done(self, worker: Child, show: Callable[["Watch"], None]) -> None:
        """Look and show until all is there. Raises PixassayError where the worker ends or is stuck."""
        last_done, last_time = -1, time.monotonic()
        while self.done < self.expected:
            self.look()
            show(self)
            if self.done != last_done:
                last_done, last_time = self.done, time.monotonic()
            if worker.exit_code is not None:
                raise PixassayError(f"the worker ended early ({worker.exit_code}): {worker.last_words()}")
            if time.monotonic() - last_time > _STUCK_S:
                raise PixassayError(f"the worker is stuck at {self.done} outcomes: {worker.last_words()}")
            time.sleep(_POLL_S)

    def look(self) -> None:
        """Read what is there now."""
        ids = [item.upload.upload_id for item in self.sent]
        self.rows = self.history.of_uploads(TENANT, ids, self.bundle)
        letters = self.history.dead_letters(limit=self.bad + len(self.sent) + 1)
        self.letters = [row for row in letters if row["id"] not in self.old_letters]
