"""The composition root: joins the parts and the lane to a worker and keeps it running.

Faust is the shell. Its app starts, supervises and stops the image lane (a mode Service) and runs the
label agent. Where the app breaks, it is made anew; the engine, the store and the uploads that are
under way live outside it and stay.
"""

import asyncio
import functools
import logging
from types import TracebackType
from typing import Any

import faust
from mode import Service

from stream.errors import Outage
from stream.events import Label
from stream.flag import Flagger
from stream.kafka import METADATA_MS, PART, ensure_topics, tls_context
from stream.labels import Labels, add_label_agent
from stream.lane import Lane
from stream.parts import load_parts
from stream.pipeline import Pipeline
from stream.retry import pauses, persist
from stream.settings import Settings
from stream.steps import Parts
from stream.telemetry import Telemetry
from stream.tracing import tracing_of
from stream.waiting import first_of

log = logging.getLogger("pixassay")

FAREWELL_S = 20.0  # for the shell to stop, beyond the time that uploads in flight are given


class Worker:
    """One worker: `start` returns when it takes part in the group, `stop` when it has drained and left.

    `parts` are made from the settings where none are given. Also an async context manager.
    """

    def __init__(self, settings: Settings, parts: Parts | None = None) -> None:
        self._settings = settings
        self._parts = parts
        self.telemetry = Telemetry(settings.metric_tenants)
        self._flagger = Flagger(settings)
        self._pipeline: Pipeline | None = None
        self._joined, self._stopping = asyncio.Event(), asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def described(self) -> str:
        """What judges, for people. After `start` only."""
        return self._parts.described if self._parts else "not started"

    async def start(self) -> None:
        """Load, check, connect, join. Outages are waited out. Raises ConfigError and BundleError."""
        self.telemetry.tracing = tracing_of(self._settings)
        if self._parts is None:
            self._parts = await load_parts(self._settings, self.telemetry)
        self.telemetry.about["bundle_id"] = self._parts.bundle_id
        await persist(functools.partial(ensure_topics, self._settings), self.telemetry)
        await persist(self._flagger.start, self.telemetry)
        self._pipeline = Pipeline(self._parts, self._flagger, self._settings, self.telemetry)
        self._supervisor = asyncio.create_task(self._supervise(self._parts, self._pipeline))
        await first_of(self._joined.wait(), asyncio.shield(self._supervisor))

    async def stop(self) -> None:
        """Drain, commit, leave and close. What could not finish in time is delivered again."""
        self._stopping.set()
        self.telemetry.stopping = True
        if self._supervisor is not None:
            await self._supervisor
        if self._pipeline is not None:
            await self._pipeline.close()
        await self._flagger.stop()
        if self._parts is not None:
            await self._parts.close()
        await asyncio.to_thread(self.telemetry.tracing.close)

    async def __aenter__(self) -> "Worker":
        try:
            await self.start()
        except BaseException:  # a cancelled start, too, must not leave clients open; it goes on below
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _supervise(self, parts: Parts, pipeline: Pipeline) -> None:
        """Run shells until `stop`, one after the other: a shell ends when the worker does, or breaks."""

        async def store(labels: list[Label]) -> None:
            await pipeline.in_database(parts.label, labels)

        labels = Labels(store, pipeline.end_dead)
        retry = pauses()
        while not self._stopping.is_set():
            lane = Lane(self._settings, pipeline, self.telemetry, self._joined)
            trouble = await self._run_shell(shell(self._settings, lane, labels))
            if trouble is not None:
                self.telemetry.lost(Outage(PART, f"the Kafka shell broke: {trouble!r}"), "shell")
                await first_of(self._stopping.wait(), seconds=next(retry))
        self.telemetry.back(PART, "shell")

    async def _run_shell(self, app: faust.App) -> BaseException | None:
        """Run one shell until `stop`, or until it breaks: then what broke it."""
        try:
            await first_of(self._stopping.wait(), self._live(app))
        except Exception as error:
            log.debug("the shell broke", exc_info=error)
            return error
        finally:
            await self._end(app)
        return app.crash_reason if app.crashed else None

    async def _live(self, app: faust.App) -> None:
        await app.start()
        self.telemetry.back(PART, "shell")
        await app.wait_until_stopped()

    async def _end(self, app: faust.App) -> None:
        try:
            async with asyncio.timeout(self._settings.rebalance_drain_s + FAREWELL_S):
                await app.stop()
        except Exception as error:
            log.debug("the shell did not stop in order", exc_info=error)


class LaneService(Service):
    """The lane as a child of the Faust app: started first, stopped last, its failure breaks the shell."""

    def __init__(self, lane: Lane, **options: Any) -> None:
        self._lane = lane
        self._over = asyncio.Event()
        super().__init__(**options)

    @Service.task
    async def _run(self) -> None:
        try:
            await self._lane.run()
        finally:
            self._over.set()

    async def on_stop(self) -> None:
        """Let the lane drain; mode would only cancel it."""
        self._lane.stop()
        await self._over.wait()


class _Shell(faust.App):
    """An app without tables, and so without the folders for them."""

    def _create_directories(self) -> None:
        """Faust would make them in the working directory, which may be nobody's to write in."""


def shell(settings: Settings, lane: Lane, labels: Labels) -> faust.App:
    """The Faust app: the lane and the label agent."""
    brokers = [f"kafka://{address.strip()}" for address in settings.kafka_bootstrap.split(",")]
    app = _Shell(
        f"{settings.group}-labels",
        broker=brokers,
        broker_credentials=_credentials(settings),
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=max(0.1, settings.session_timeout_s / 6),
        broker_request_timeout=max(90.0, settings.session_timeout_s + 10),
        broker_commit_interval=settings.commit_interval_s,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MS,
        processing_guarantee="at_least_once",
        # Waits for the event at work when partitions go; without it Faust acknowledges half-done work.
        stream_wait_empty=True,
        stream_buffer_maxsize=256,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
    )
    add_label_agent(app, labels, settings)
    app.add_dependency(LaneService(lane, loop=app.loop, beacon=app.beacon))
    return app


def _credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    context = tls_context(settings)
    if settings.kafka_security.startswith("SASL"):
        password = settings.kafka_password
        return faust.SASLCredentials(
            username=settings.kafka_username,
            password=password.get_secret_value() if password else None,
            ssl_context=context,
            mechanism=settings.kafka_sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context else None
