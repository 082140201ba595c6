"""Whose store may hold up whom. A source is one bucket, or the file system.

The policy, so that one tenant's bucket stalls that tenant alone:

- A source works with at most three quarters of the fetchers at a time.
- After a failure it gets one fetcher, which tries again after growing pauses, until it answers.
- While it fails, or has not answered for SLOW_S, its uploads step aside: they hold neither a place in
  the pipeline nor memory for a picture, and the lane goes on past them. There are max_aside places; an
  upload takes one for each PLACE_BYTES of its record, the only thing it holds that has no fixed size.
- An upload whose bucket still fails after store_patience_s, although others are served all that time,
  becomes a dead letter (store_unavailable), which can be replayed. So does one that finds no room aside
  while another bucket answers.
- Where no bucket is served the store as a whole is away: all wait, and none is given up.
"""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.errors import CannotEvaluate, Outage, Undeliverable
from stream.reasons import Reason
from stream.retry import pauses
from stream.settings import Settings
from stream.telemetry import Telemetry

log = logging.getLogger("pixassay")

SLOW_S = 5.0  # without any answer, after which a source's uploads step aside
PROOF_S = 5.0  # an answer so long after a failure shows that the store as such works
GAP_S = 60.0  # without any answer, after which nobody knows whether the store works
FRESH_S = 10.0  # an answer of another bucket so short ago shows it well enough where there is no room aside
PLACE_BYTES = 4096  # of its Kafka record that an upload may hold in one place aside
_STORE = "object store"


class Sources:
    """All sources of one worker. For one event loop."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        pictures = settings.max_held_mb * 2**20 // settings.max_bytes
        self.share = max(1, min(_most_of(settings.fetchers), _most_of(pictures)))
        self.patience_s, self.most_aside = settings.store_patience_s, settings.max_aside
        self.places_aside = 0  # taken
        self.telemetry = telemetry
        self._sources: dict[str, _Source] = {}
        self._answered = self._answering_since = -math.inf  # last answer; since when they come regularly
        self._healthy: dict[str, float] = {}  # bucket whose last fetch was answered -> when, the latest last

    def visit(self, uri: str, record_bytes: int) -> "Visit":
        """One upload's way to its picture; to be ended with `leave`. Its record is held all the while."""
        name = source_of(uri)
        if name not in self._sources:
            self._sources[name] = _Source(name, self.share)
        return Visit(self, self._sources[name], 1 + record_bytes // PLACE_BYTES)

    def answered(self, bucket: "_Source") -> None:
        """This bucket has just answered, so the store as a whole is not away."""
        now = _now()
        self._healthy.pop(bucket.name, None)
        self._healthy[bucket.name] = now
        while now - next(iter(self._healthy.values())) > FRESH_S:
            del self._healthy[next(iter(self._healthy))]
        if now - self._answered > GAP_S:
            self._answering_since = now
        self._answered = now
        for source in self._sources.values():
            self.telemetry.back(_STORE, source)

    def serves_others_since(self, moment: float) -> float | None:
        """Since when, after a failure at `moment`, others are known to be served. None: not known."""
        proven = self._answered >= moment + PROOF_S and _now() - self._answered <= GAP_S
        return max(moment, self._answering_since) if proven else None

    def serves_others(self, source: "_Source") -> bool:
        """Whether another bucket has answered a moment ago, and not failed since."""
        return any(
            _now() - moment <= FRESH_S for name, moment in self._healthy.items() if name != source.name
        )

    def missed(self, source: "_Source", outage: Outage) -> None:
        """A source does not answer; where none has of late, that is an outage of the whole store."""
        self._healthy.pop(source.name, None)
        if _now() - self._answered > PROOF_S:
            self.telemetry.lost(outage, source)

    def left(self, source: "_Source") -> None:
        """Keep no state of what nobody visits: names of buckets come from outside."""
        if source.unvisited:
            self.telemetry.back(_STORE, source)
            self._sources.pop(source.name, None)


class _Source:
    """One bucket, or the file system: who is served, who waits, and whether it fails."""

    def __init__(self, name: str, share: int) -> None:
        self.name, self._share = name, share
        self.is_bucket = name.startswith("s3://")
        self.failing = False
        self._served: set[Visit] = set()
        self._line: OrderedDict[Visit, asyncio.Future[None]] = OrderedDict()
        self._fetching = 0
        self._progress = 0.0  # when it last answered, or was first asked
        self._retry = pauses()
        self._next_try: asyncio.TimerHandle | None = None

    @property
    def unvisited(self) -> bool:
        return not (self._served or self._line)

    @property
    def stalled(self) -> bool:
        return self.failing or (self._fetching > 0 and _now() - self._progress > SLOW_S)

    def queue(self, visit: "Visit") -> "asyncio.Future[None]":
        """A future that is done when it is this visit's turn."""
        turn = self._line[visit] = asyncio.get_running_loop().create_future()
        self._serve()
        return turn

    def remove(self, visit: "Visit") -> None:
        self._line.pop(visit, None)
        self._served.discard(visit)
        self._serve()

    def started(self) -> None:
        if not self._fetching:
            self._progress = _now()
        self._fetching += 1

    def ended(self) -> None:
        self._fetching -= 1

    def answered(self) -> None:
        self._progress = _now()
        if self.failing:
            self.failing, self._retry = False, pauses()
            log.info("%s answers again; %d uploads have waited for it", self.name, len(self._line))
            self._serve()

    def failed(self, outage: Outage) -> None:
        """Pause; then one of those that wait tries. Those that have waited for too long are given up."""
        if not self.failing:
            self.failing = True
            log.warning("%s does not answer, its uploads step aside: %s", self.name, outage.detail)
        if self._next_try is None:
            self._next_try = asyncio.get_running_loop().call_later(next(self._retry), self._try_again)
        for visit, turn in self._line.items():
            if not turn.done() and visit.too_long:
                turn.set_exception(visit.given_up())

    def _try_again(self) -> None:
        self._next_try = None
        self._serve()

    def _serve(self) -> None:
        """Give turns to those at the front of the line, as many as may be served now."""
        if self.failing and self._next_try is not None:
            return
        while self._line and len(self._served) < (1 if self.failing else self._share):
            visit, turn = self._line.popitem(last=False)
            if not turn.done():
                self._served.add(visit)
                turn.set_result(None)


class Visit:
    """One upload at its source: wait for a turn, fetch, tell how it went; once more, or leave."""

    def __init__(self, sources: Sources, source: _Source, places: int) -> None:
        self._sources, self._source, self._places = sources, source, places
        self._since: float | None = None  # when it failed first, or stepped aside
        self._aside = False
        self._attempts = 0
        self._outage = "it is slow"

    async def turn(self, step_aside: Callable[[], None]) -> None:
        """Wait until the source may be asked; `step_aside` is called when others are not to wait, too.

        Raises Undeliverable (store_unavailable) where the upload is given up.
        """
        turn = self._source.queue(self)
        while not (turn.done() or self._aside):
            if self._source.stalled and self._finds_room_aside():
                self._aside, self._since = True, self._since or _now()
                self._sources.telemetry.aside += 1
                self._sources.places_aside += self._places
                step_aside()
            else:
                await asyncio.wait({turn}, timeout=SLOW_S)
        await turn

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Around the fetch itself. Raises Undeliverable (store_unavailable) in place of the last Outage.

        Any other Outage passes through: then `turn` is to be waited for again.
        """
        self._attempts += 1
        self._source.started()
        try:
            yield
        except CannotEvaluate:
            self._answered()  # what it says of the picture is an answer, too
            raise
        except Outage as outage:
            self._failed(outage)
            raise
        else:
            self._answered()
        finally:
            self._source.ended()

    def leave(self) -> None:
        """Give up the turn, and the place aside."""
        if self._aside:
            self._aside = False
            self._sources.telemetry.aside -= 1
            self._sources.places_aside -= self._places
        self._source.remove(self)
        self._sources.left(self._source)

    @property
    def too_long(self) -> bool:
        """Whether others were served for longer than the patience while this one waited."""
        if self._since is None or not self._source.is_bucket:
            return False
        since = self._sources.serves_others_since(self._since)
        return since is not None and _now() - since > self._sources.patience_s

    def given_up(self) -> Undeliverable:
        """What becomes of it then."""
        tried = f"{self._attempts} attempts, last: {self._outage}"
        detail = f"{self._source.name} does not answer while other buckets do ({tried}); replay it later"
        return Undeliverable(Reason.STORE_UNAVAILABLE, detail)

    def _answered(self) -> None:
        self._source.answered()
        if self._source.is_bucket:
            self._sources.answered(self._source)
        self._sources.telemetry.back(_STORE, self._source)

    def _failed(self, outage: Outage) -> None:
        self._since, self._outage = self._since or _now(), outage.detail
        self._sources.missed(self._source, outage)
        self._source.failed(outage)
        self._source.remove(self)
        if self.too_long:
            raise self.given_up() from outage

    def _finds_room_aside(self) -> bool:
        if self._sources.places_aside + self._places <= self._sources.most_aside:
            return True
        failing = self._source.is_bucket and self._source.failing
        if failing and self._sources.serves_others(self._source):
            raise self.given_up()
        return False


def source_of(uri: str) -> str:
    """s3://bucket of an object; the scheme of anything else."""
    scheme, _, rest = uri.partition("://")
    return f"s3://{rest.partition('/')[0]}" if scheme.lower() == "s3" else f"{scheme.lower()[:32]}://"


def _most_of(number: int) -> int:
    return number - max(1, number // 4)


def _now() -> float:
    return asyncio.get_running_loop().time()
