"""What a worker tells about itself: counts, what it waits for, its progress line and its log format."""

import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import orjson

from stream.errors import Outage

log = logging.getLogger("pixassay")

_RATE_SPAN = 6  # readings that the rate is taken over


class Telemetry:
    """Counts and states of one worker, kept on its event loop."""

    def __init__(self) -> None:
        self.records = 0  # Kafka records taken up, repeats included
        self.verdicts: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()  # dead letters by reason
        self.flagged = 0  # review messages acknowledged by the broker
        self.in_flight = 0  # uploads
        self.aside = 0  # uploads in flight that wait for a bucket which does not answer
        self.lag: int | None = None  # records behind the ends of our partitions; None: not known yet
        self._waiting: dict[str, set[object]] = {}  # part that is away -> who waits for it
        self._readings: deque[tuple[float, int]] = deque(maxlen=_RATE_SPAN)

    @property
    def outcomes(self) -> int:
        return self.verdicts.total() + self.dead.total()

    @property
    def away(self) -> frozenset[str]:
        """Parts that somebody waits for: "kafka", "database", "object store". Empty: the worker is ready."""
        return frozenset(self._waiting)

    def lost(self, outage: Outage, who: object) -> None:
        """`who` waits for a part now. Logged when it is the first."""
        if outage.part not in self._waiting:
            log.warning("%s is away, waiting for it: %s", outage.part, outage.detail)
        self._waiting.setdefault(outage.part, set()).add(who)

    def back(self, part: str, who: object) -> None:
        """`who` waits no longer. Logged when it was the last."""
        waiting = self._waiting.get(part)
        if waiting is None or who not in waiting:
            return
        waiting.discard(who)
        if not waiting:
            del self._waiting[part]
            log.info("%s is back", part)

    @contextmanager
    def waiting_for(self, outage: Outage) -> Iterator[None]:
        """Count the body as waiting for the part that is away."""
        who = object()
        self.lost(outage, who)
        try:
            yield
        finally:
            self.back(outage.part, who)

    def progress(self) -> str:
        """One line for people: totals, rate over the last readings, what is waited for."""
        self._readings.append((time.monotonic(), self.outcomes))
        (then, before), (now, after) = self._readings[0], self._readings[-1]
        rate = (after - before) / (now - then) if now > then else 0.0
        words = [
            f"{after} outcomes ({rate:.1f}/s)",
            *(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items())),
            f"{self.dead.total()} dead letters",
            f"{self.in_flight} in flight",
            f"lag {'?' if self.lag is None else self.lag}",
            *(f"waiting for {part}" for part in sorted(self._waiting)),
        ]
        return ", ".join(words)


class JsonLines(logging.Formatter):
    """One JSON object a log line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode()


def set_up_logging(as_json: bool) -> None:
    """Log to stderr. Kafka clients repeat themselves in an outage; we say it once, so they are mute."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)
    for client in ("aiokafka", "faust", "mode"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
