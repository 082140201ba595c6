"""What a worker and its decoding processes take of memory, and how many processes it needed."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.processes import children

_EVERY_S = 0.2


@dataclass(slots=True)
class Watch:
    """A context manager; inside it a worker is looked at. Sizes in MiB, resident."""

    worker: int  # its process id
    worker_at_start: int = 0
    worker_peak: int = 0
    decoder_peak: int = 0
    decoders: set[int] = field(default_factory=set)  # ids of all that were seen
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Watch":
        self.worker_at_start = peak_mb(self.worker)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.worker_peak = max(self.worker_peak, peak_mb(self.worker))
            running = children(self.worker)
            self.decoders |= running
            self.decoder_peak = max([self.decoder_peak, *map(peak_mb, running)])


def peak_mb(process: int) -> int:
    """The most memory that a process had, MiB; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] // 1024 if found else 0
