"""What a worker knows of itself: counts, states, what it waits for, and its progress line.

stream/metrics.py shows it to Prometheus, stream/monitor.py to whoever asks whether it is ready.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from stream.drift import Drift
from stream.errors import Outage
from stream.measures import Measures
from stream.offsets import Partition
from stream.tracing import Tracing, Untraced
from stream.types import Outcome

log = logging.getLogger("pixassay")

_RATE_SPAN = 6  # readings that the rate is taken over
OTHERS = "(others)"  # tenants beyond those that are told apart


class Telemetry:
    """Counts and states of one worker, kept on its event loop."""

    def __init__(self, tenants: int = 0) -> None:
        """`tenants`: how many of them have verdict counts of their own; the rest are counted together."""
        self.measures = Measures()
        self.about: dict[str, str] = {}  # what judges: bundle, engine, policy; empty until it is loaded
        self.tracing: Tracing = Untraced()
        self.drift: Drift | None = None  # None: the bundle has no reference
        self.records = 0  # Kafka records taken up, repeats included
        self.verdicts: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()  # dead letters by reason
        self.reasons: Counter[str] = Counter()  # reason codes of stored verdicts
        self.by_tenant: Counter[tuple[str, str]] = Counter()  # (tenant, verdict)
        self.flagged = 0  # review messages acknowledged by the broker
        self.in_flight = 0  # uploads
        self.aside = 0  # uploads in flight that wait for a bucket which does not answer
        self.retries: Counter[str] = (
            Counter()
        )  # calls that failed and are made again, by the part that is away
        self.outages: Counter[str] = Counter()  # times that a part went away
        self.defects = 0  # unexpected exceptions of single uploads
        self.assigned: frozenset[Partition] | None = None  # our partitions; None: the group gave us none yet
        self.paused = 0  # partitions that nothing is taken from, for want of room or of a part
        self.lags: Mapping[Partition, int] | None = None  # records behind the ends; None: not known yet
        self.stopping = False
        self.depths: Callable[[], Mapping[str, tuple[int, int]]] = dict  # step -> uploads in it, its places
        self._tenants, self._most_tenants = set[str](), tenants
        self._waiting: dict[str, set[object]] = {}  # part that is away -> who waits for it
        self._readings: deque[tuple[float, int]] = deque(maxlen=_RATE_SPAN)

    @property
    def outcomes(self) -> int:
        return self.verdicts.total() + self.dead.total()

    @property
    def lag(self) -> int | None:
        """Records behind the ends of all our partitions. None: not known yet."""
        return None if self.lags is None else sum(self.lags.values())

    @property
    def away(self) -> frozenset[str]:
        """Parts that somebody waits for: "kafka", "database", "object store", "engine", "decoder"."""
        return frozenset(self._waiting)

    def troubles(self) -> list[str]:
        """Why the worker cannot finish uploads now, a sentence each. Empty: it is ready.

        A member of the group that got no partition is ready: it stands by.
        """
        found = [f"{part} is away" for part in sorted(self._waiting)]
        if not self.about:
            found.append("the bundle and the engine are not loaded and checked yet")
        if self.assigned is None:
            found.append("the group has given us no partitions yet")
        if self.stopping:
            found.append("it is stopping")
        return found

    def lost(self, outage: Outage, who: object) -> None:
        """`who` waits for a part now. Logged when it is the first."""
        if outage.part not in self._waiting:
            self.outages[outage.part] += 1
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

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time and trace the body, one call of a step."""
        with self.measures.steps[name].time(), self.tracing.step(name):
            yield

    def judged(self, outcome: Outcome) -> None:
        """Count a verdict that is stored now."""
        judgement = outcome.judgement
        self.verdicts[judgement.verdict] += 1
        self.tracing.note("verdict", judgement.verdict)
        self.reasons.update(judgement.reasons)
        self.measures.upload.observe(outcome.latency_ms / 1000)
        if judgement.score is not None:
            self.measures.score.observe(judgement.score)
            if self.drift is not None:
                self.drift.add(judgement.score)
        if self._most_tenants:
            self.by_tenant[self._label(outcome.job.upload.tenant), judgement.verdict] += 1

    def _label(self, tenant: str) -> str:
        """Names come from outside, and each is a time series of its own: only so many are kept."""
        if tenant not in self._tenants:
            if len(self._tenants) >= self._most_tenants:
                return OTHERS
            self._tenants.add(tenant)
        return tenant

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
