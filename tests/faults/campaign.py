"""One campaign: uploads stream, the plan is carried out, everything is mended, and then it is counted."""

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stream.embedded import DirectoryStore
from stream.kafka import ensure_topics
from stream.settings import Settings
from tests.faults.crew import Crew
from tests.faults.outages import strike
from tests.faults.plan import Broker, Event, Plan, draw
from tests.faults.result import Result, count
from tests.faults.stage import Stage, rows, stage
from tests.faults.stream import Stream
from tests.harness.scene import Scene, set_scene, worker_settings

log = logging.getLogger("pixassay.faults")

COMMIT_S = 0.1  # between commits: what is committed too early is lost at the next kill
SETTLE_S = 90.0  # without a new row, when all is mended and all workers are up: then the rest counts as lost
LONGEST_SETTLE_S = 600.0  # on a machine that is so loaded that workers do not even start


@dataclass(slots=True)
class _Campaign:
    stage: Stage
    settings: Settings
    crew: Crew
    stream: Stream
    outages: Counter[str] = field(default_factory=Counter)  # "part: kind" -> how often


async def run(kills: int, outages: int, seed: int, broker: Broker, bundle: Path, folder: Path) -> Result:
    """Carry out a campaign; logs of the workers stay in `folder`. Raises where the stage itself breaks."""
    started, plan = time.monotonic(), draw(kills, outages, seed, broker)
    async with stage(broker) as services, _campaign(services, seed, bundle, folder) as one:
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(one.crew.watch())
            streaming = tasks.create_task(one.stream.run(stopping))
            await _carry_out(one, plan)
            stopping.set()
            await streaming
            recovery = await _settle(one)
            watching.cancel()
        await one.crew.dismiss()
        found = await asyncio.to_thread(count, one.settings, services, one.stream.sent)
    return Result(
        **found,
        broker=services.broker.version,
        seed=seed,
        kills=one.crew.kills,
        outages=one.outages.total(),
        changes=one.crew.changes,
        died=one.crew.died,
        kinds=dict(one.outages),
        recovery_s=recovery,
        seconds=time.monotonic() - started,
    )


@asynccontextmanager
async def _campaign(services: Stage, seed: int, bundle: Path, folder: Path) -> AsyncIterator[_Campaign]:
    directory = DirectoryStore(folder / "pictures")
    bucket = await asyncio.to_thread(services.seaweedfs.bucket, "faults")
    scene: Scene = await asyncio.to_thread(set_scene, directory, bucket)
    settings = worker_settings(
        folder,
        services.variables(),
        bundle=bundle,
        file_roots=(directory.folder,),
        group="faults",
        commit_interval_s=COMMIT_S,
    )
    await ensure_topics(settings)
    crew = Crew(settings, folder)
    stored = functools.partial(rows, services.postgres)
    stream = Stream(settings.kafka_bootstrap, settings.topic_uploads, scene.sender(seed), stored)
    try:
        yield _Campaign(services, settings, crew, stream)
    finally:
        await asyncio.to_thread(crew.abandon)


async def _carry_out(one: _Campaign, plan: Plan) -> None:
    """Every event at its time; outages go on beside what comes after them."""
    start = time.monotonic()
    async with asyncio.TaskGroup() as striking:
        for event in plan.events:
            await asyncio.sleep(max(0.0, start + event.at - time.monotonic()))
            log.info("%6.1f s: %s %s %s %.1f s", event.at, event.deed, event.part, event.kind, event.seconds)
            if event.deed == "outage":
                striking.create_task(_strike(one, event))
            else:
                await _move(one.crew, event)
    await asyncio.sleep(max(0.0, start + plan.seconds - time.monotonic()))


async def _strike(one: _Campaign, event: Event) -> None:
    if event.part == "worker":
        await one.crew.freeze(event.choice, event.seconds)
    else:
        await strike(one.stage, event.part, event.kind, event.seconds)
    one.outages[f"{event.part}: {event.kind}"] += 1


async def _move(crew: Crew, event: Event) -> None:
    match event.deed:
        case "kill":
            await crew.kill(event.choice)
        case "join":
            crew.join()
        case "leave":
            crew.leave(event.choice)


async def _settle(one: _Campaign) -> float:
    """Wait until every upload has its row, or no row has come for SETTLE_S from workers that are up."""
    start = moved = now = time.monotonic()
    stored = 0
    while stored < len(one.stream.sent.uploads) and now - moved < SETTLE_S and now - start < LONGEST_SETTLE_S:
        await asyncio.sleep(0.5)
        before, stored = stored, await asyncio.to_thread(rows, one.stage.postgres)
        now = time.monotonic()
        moved = now if stored > before or not one.crew.complete else moved
    return now - start
