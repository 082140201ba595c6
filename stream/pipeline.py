"""The way of one upload: parse, fetch, decode and views, detect, decide, store, flag. Only here is it known.

Each upload is a task that reads from top to bottom; steps overlap because many are under way. A
place in a step is a seat (stream/bounds.py), so what waits between two steps is bounded, and so
are the bytes held. Nothing leaves here as an exception: an upload ends with a verdict or a dead
letter, both durable, and only then is its `done` called.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stream.bounds import Batcher, ByteBudget, Reservation, Room, Seat
from stream.errors import BadRecord, CannotEvaluate, ConfigError, Outage, Undeliverable
from stream.events import Upload, own_part, verdict_id
from stream.logs import ids_of, log_letter, log_verdict
from stream.reasons import Reason
from stream.retry import pauses, persist
from stream.settings import Settings
from stream.sources import Sources, Visit
from stream.steps import Flags, Parts, Recheck
from stream.telemetry import Telemetry
from stream.types import FLAGGED, DeadLetter, Fetched, Job, Judgement, Origin, Outcome, PictureFacts, Views

log = logging.getLogger("pixassay")
T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 3  # of one upload that meets an unexpected exception, before it becomes a dead letter
STORE_BATCH = 256  # rows in one insert: beyond this it gets no faster


@dataclass(frozen=True, slots=True)
class Part:
    """One upload (or what should have been one) of one Kafka record."""

    content: Upload | BadRecord
    origin: Origin
    raw: bytes
    index: int  # of the upload within its record
    received_at: datetime


@dataclass(slots=True)
class _Way:
    """What one upload holds and has learned so far."""

    job: Job
    seat: Seat
    bytes: Reservation
    record_bytes: int
    fetched: Fetched | None = None
    facts: PictureFacts | None = None


@dataclass(slots=True)
class _Rooms:
    """Seats a step: those at work in it and those that wait for it."""

    fetching: Room
    decoding: Room
    detecting: Room
    storing: Room

    def depths(self) -> dict[str, tuple[int, int]]:
        """Step -> uploads in its room, and places there."""
        rooms = {"fetch": self.fetching, "decode": self.decoding, "detect": self.detecting}
        return {step: (room.taken, room.places) for step, room in (rooms | {"store": self.storing}).items()}


@dataclass(slots=True)
class _Threads:
    fetch: ThreadPoolExecutor
    database: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "database")  # a Store is for one thread at a time
    )


class Pipeline:
    """Carries uploads from record to outcome. Made and used on one event loop."""

    def __init__(self, parts: Parts, flags: Flags, settings: Settings, telemetry: Telemetry) -> None:
        wait = settings.queue_size
        self._steps, self._flags, self._bundle = parts.steps, flags, parts.bundle_id
        self._telemetry = telemetry
        self._places = settings.fetchers + wait
        self._rooms = _Rooms(
            fetching=Room(self._places),
            decoding=Room(parts.decoders + wait),
            detecting=Room(settings.max_batch + wait),
            storing=Room(STORE_BATCH + wait),
        )
        telemetry.depths = self._rooms.depths
        self._budget = ByteBudget(settings.max_held_mb * 2**20)
        self._largest, self._log_outcomes = settings.max_bytes, settings.log_outcomes
        self._sources = Sources(settings, telemetry)
        self._threads = _Threads(ThreadPoolExecutor(settings.fetchers, "fetch"))
        self._rows = Batcher(self._write, STORE_BATCH)
        self._letters = Batcher(self._bury, STORE_BATCH)
        self._tasks: set[asyncio.Task[None]] = set()
        self._entering = 0  # submitted and not yet past fetching
        self.enough_room = max(1, self._places // 4)  # asking for fewer records costs more than it brings
        self.room_made = asyncio.Event()  # set when there is enough room again

    def room(self) -> int:
        """How many more uploads can be submitted before they would pile up; negative: that many wait."""
        return self._places - self._entering

    def submit(self, part: Part, done: Callable[[], None]) -> None:
        """Start on one upload; `done` is called when its outcome is durable, and never otherwise."""
        self._entering += 1
        self._telemetry.in_flight += 1
        task = asyncio.create_task(self._carry(part, done))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Give up what is under way (it was not marked done, so it will be delivered again)."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._rows.close()
        await self._letters.close()
        self._threads.fetch.shutdown(wait=False, cancel_futures=True)
        self._threads.database.shutdown(wait=False, cancel_futures=True)

    async def _carry(self, part: Part, done: Callable[[], None]) -> None:
        entered = _Once(self._entered)
        try:
            upload = None if isinstance(part.content, BadRecord) else part.content
            with self._telemetry.tracing.upload(part.origin, upload):
                letter = await self._evaluate_or_letter(part, entered)
                if letter is not None:
                    await self.end_dead(letter)
            done()
        finally:
            entered()
            self._telemetry.in_flight -= 1

    async def _evaluate_or_letter(self, part: Part, entered: "_Once") -> DeadLetter | None:
        """None where the upload has its verdict; else the dead letter that is still to be stored."""
        if isinstance(part.content, BadRecord):
            return _letter(part, part.content.reason, part.content.detail)
        job = Job(part.content, part.origin, part.received_at)
        trouble: BaseException | None = None
        for attempt, pause in zip(range(1, ATTEMPTS + 1), pauses(), strict=False):
            try:
                await self._evaluate(job, len(part.raw), entered)
            except Undeliverable as error:
                return _letter(part, error.reason, error.detail, attempt)
            except asyncio.CancelledError as error:
                if _being_cancelled():
                    raise
                trouble = error  # a step's own future was cancelled, not this upload
            except Exception as error:
                trouble = error
                self._telemetry.defects += 1
                ids = ids_of(part.origin, job.upload, self._bundle)
                line = "upload %s, attempt %d: %r"
                log.warning(line, job.upload.upload_id, attempt, error, exc_info=error, extra=ids)
            else:
                return None
            await asyncio.sleep(pause)
        return _letter(part, Reason.INTERNAL_ERROR, repr(trouble), ATTEMPTS)

    async def _evaluate(self, job: Job, record_bytes: int, entered: "_Once") -> None:
        way = _Way(job, Seat(), Reservation(self._budget, 0), record_bytes)
        try:
            try:
                judgement = await self._judge(way, entered)
            except CannotEvaluate as error:
                judgement = self._steps.unable(error)
            way.bytes.resize(0)
            await way.seat.move(self._rooms.storing)
            entered()
            await self._store_and_flag(self._outcome(way, judgement))
        finally:
            way.seat.leave()
            way.bytes.resize(0)

    async def _judge(self, way: _Way, entered: "_Once") -> Judgement:
        """From the URI to the judgement. Raises as the steps do, but for outages, which it waits out."""
        await way.seat.move(self._rooms.fetching)
        visit = self._sources.visit(way.job.upload.uri, way.record_bytes)
        try:
            way.fetched = await self._fetched(way, visit, entered)
            way.bytes.resize(len(way.fetched.data))
            await way.seat.move(self._rooms.decoding)
        finally:
            visit.leave()
        entered()
        data, again = way.fetched.data, self._steps.recheck
        views = await persist(functools.partial(self._decode, self._steps.decode, data), self._telemetry)
        way.facts = views.facts
        way.fetched = Fetched(b"", way.fetched.sha256)
        data = data if again else b""  # the views are all that is needed from here on
        way.bytes.resize(len(data) + sum(array.nbytes for array in views.arrays.values()))
        await way.seat.move(self._rooms.detecting)
        # Views have one shape whatever the picture, so what fails here is the engine and not the upload.
        logits = await persist(functools.partial(self._detect, views), self._telemetry)
        copy, tenant = None, way.job.upload.tenant
        if again and again.wanted(logits, tenant, views.faces):
            copy = await self._rechecked(again, data)
        return self._steps.judge(logits, tenant, copy, views.faces)

    async def _rechecked(self, again: Recheck, data: bytes) -> NDArray[np.float32]:
        """The logits of the picture's copy. Keeps the seat that it has."""
        views = await persist(functools.partial(self._decode, again.copy, data), self._telemetry)
        return await persist(functools.partial(self._detect, views), self._telemetry)

    async def _fetched(self, way: _Way, visit: Visit, entered: "_Once") -> Fetched:
        """Fetch by turns (stream/sources.py), as often as it takes."""

        def step_aside() -> None:
            way.seat.leave()
            entered()

        while True:
            await visit.turn(step_aside)
            way.bytes = await self._budget.reserve(self._largest)
            try:
                with visit.fetching():
                    return await self._fetch(way.job.upload)
            except Outage as outage:
                self._telemetry.retries[outage.part] += 1
                way.bytes.resize(0)

    async def _fetch(self, upload: Upload) -> Fetched:
        loop = asyncio.get_running_loop()
        with self._telemetry.step("fetch"):
            return await loop.run_in_executor(self._threads.fetch, self._steps.fetch, upload)

    async def _decode(self, decode: Callable[[bytes], Future[Views]], data: bytes) -> Views:
        with self._telemetry.step("decode"):
            return await asyncio.wrap_future(decode(data))

    async def _detect(self, views: Views) -> NDArray[np.float32]:
        with self._telemetry.step("detect"):
            return await self._steps.score(views.arrays)

    async def _store_and_flag(self, outcome: Outcome) -> None:
        """What the store returns counts: on a replay that is the row which is there already."""
        with self._telemetry.step("store"):
            stored = await self._rows.put(outcome)
        if stored is None:
            return  # it was erased: nothing of it is kept or told
        if isinstance(stored, Undeliverable):
            raise stored
        if stored.judgement.verdict in FLAGGED:
            with self._telemetry.step("flag"):
                await persist(functools.partial(self._flags.review, stored), self._telemetry)
            self._telemetry.flagged += 1
        self._telemetry.judged(stored)
        if self._log_outcomes:
            log_verdict(stored)

    async def end_dead(self, letter: DeadLetter) -> None:
        """Bury it and announce it. A fault in doing so is waited out like an outage: the record stays."""
        bury = functools.partial(_as_outage, "database", self._letters.put, letter)
        if not await persist(bury, self._telemetry):
            return  # it was erased: nothing of it is kept or told
        await persist(functools.partial(_as_outage, "kafka", self._flags.dead, letter), self._telemetry)
        self._telemetry.dead[str(letter.reason)] += 1
        self._telemetry.tracing.note("dead_letter", letter.reason)
        if self._log_outcomes:
            log_letter(letter, self._bundle)

    async def _write(self, outcomes: list[Outcome]) -> list[Outcome | Undeliverable | None]:
        self._telemetry.measures.insert.observe(len(outcomes))
        return await self.in_database(self._steps.write, outcomes)

    async def _bury(self, letters: list[DeadLetter]) -> list[bool]:
        return await self.in_database(self._steps.bury, letters)

    async def in_database(self, call: Callable[[T], R], items: T) -> R:
        """Run a blocking call of the store on its thread; waits while Postgres is away or misses a right."""

        def attempt() -> R:
            try:
                return call(items)
            except ConfigError as error:
                raise Outage("database", str(error)) from error

        loop = asyncio.get_running_loop()
        run = functools.partial(loop.run_in_executor, self._threads.database, attempt)
        return await persist(run, self._telemetry)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a defect left a record without outcome; it is delivered again", exc_info=error)

    def _entered(self) -> None:
        self._entering -= 1
        if self.room() >= self.enough_room:
            self.room_made.set()

    def _outcome(self, way: _Way, judgement: Judgement) -> Outcome:
        decided_at, upload = datetime.now(UTC), way.job.upload
        return Outcome(
            job=way.job,
            judgement=judgement,
            bundle=self._bundle,
            verdict_id=verdict_id(upload.tenant, upload.upload_id, self._bundle),
            decided_at=decided_at,
            latency_ms=round((decided_at - way.job.received_at).total_seconds() * 1000),
            sha256=way.fetched.sha256 if way.fetched else None,
            facts=way.facts,
        )


class _Once:
    """A callback that fires at its first call only."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def __call__(self) -> None:
        callback, self._callback = self._callback, None
        if callback:
            callback()


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _as_outage(part: str, call: Callable[[T], Awaitable[R]], item: T) -> R:
    """Call; any exception becomes an Outage of `part`. For the last resort, which must not fail for good."""
    try:
        return await call(item)
    except Outage:
        raise
    except Exception as error:
        raise Outage(part, f"it refuses a dead letter: {error!r}") from error


def _letter(part: Part, reason: Reason, detail: str, attempts: int = 1) -> DeadLetter:
    upload = part.content if isinstance(part.content, Upload) else None
    clean = detail.replace("\x00", "\\x00")[:2000]  # Postgres text holds no NUL
    raw = own_part(part.raw, part.index)
    return DeadLetter(part.origin, reason, clean, raw, attempts, upload, part.index)
