"""The whole lane against its limit L and against the loop that people write, in turn, in one run.

Broker, object store and database run on the same cores and take their share of them: it is measured, too.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from stream.bench.contest import Contestant, Lap
from stream.bench.contestants import LANE, NAIVE, contestants
from stream.bench.processor import cpu_seconds, family, resident_mb
from stream.database import connect, transaction, upgrade
from stream.demo_pictures import Picture
from stream.embedded import embedded_stack
from stream.embedded.places import temporary_folder
from stream.settings import Settings

BUCKET = "pixassay-bench"
HALF = 0.5  # load at which latency is measured: of what the lane can do
PERCENTILES = (50, 95, 99)
_WATCH_S = 20.0  # of a worker that has a backlog before it


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, in uploads; `rounds` of the first two. `backlog` 0: memory is left out."""

    lane: int
    naive: int
    rounds: int
    paced: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rounds gave, by contestant. `servers` is CPU ms an upload while the lane ran."""

    laps: Mapping[str, Sequence[Lap]]
    servers_cpu_ms: float
    latency_ms: Mapping[int, float]  # percentile -> from announcement to decision, at half the lane's rate
    memory_mb: Mapping[str, float]  # of the worker and its decoders: before a backlog, and its peak then

    def rate(self, name: str) -> float:
        """Median pictures a second."""
        return statistics.median(lap.rate for lap in self.laps[name])

    def cpu_ms(self, name: str) -> float:
        """Median CPU milliseconds a picture."""
        return statistics.median(lap.cpu_ms for lap in self.laps[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times faster `name` is than `other`: the median over the rounds."""
        pairs = zip(self.laps[name], self.laps[other], strict=True)
        return statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)


def measure_lane(
    settings: Settings, pictures: Sequence[Picture], sizes: Sizes, say: Callable[[str], None]
) -> Figures:
    """Run all rounds. Raises PixassayError where a contestant breaks off. Without torch no naive loop."""
    embedded = Settings.model_construct()  # the environment's broker and database are nobody's test ground
    with embedded_stack(embedded, BUCKET) as stack, temporary_folder("bench") as folder:
        database = stack.settings.database_url.get_secret_value()
        upgrade(database)
        with ExitStack() as running:
            each = contestants(settings, stack, pictures, folder)
            for contestant in each.values():
                running.enter_context(contestant)
            laps, servers = _rounds(list(each.values()), sizes, say)
            rate = statistics.median(lap.rate for lap in laps[LANE])
            say(f"latency at {HALF * rate:.1f} uploads/s")
            latency = _latency(each[LANE], HALF * rate, sizes.paced, database)
            memory = _memory(each[LANE], sizes.backlog, say) if sizes.backlog else {}
    return Figures(laps, servers, latency, memory)


def _rounds(
    all_of_them: Sequence[Contestant], sizes: Sizes, say: Callable[[str], None]
) -> tuple[dict[str, list[Lap]], float]:
    """Contestants take turns, so that whatever else the machine does meets all of them."""
    laps: dict[str, list[Lap]] = {each.name: [] for each in all_of_them}
    servers: list[float] = []
    for number in range(sizes.rounds):
        for each in all_of_them:
            others = family(os.getpid()) - {p for one in all_of_them for p in one.processes} - {os.getpid()}
            before = cpu_seconds(others)
            lap = each.run(sizes.naive if each.name == NAIVE else sizes.lane)
            laps[each.name].append(lap)
            say(f"round {number + 1} of {sizes.rounds}, {each.name}: {lap.rate:.1f} images/s")
            if each.name == LANE:
                servers.append((cpu_seconds(others) - before) / lap.pictures * 1000)
    return laps, statistics.median(servers)


def _latency(lane: Contestant, rate: float, count: int, database: str) -> dict[int, float]:
    """Announce `count` uploads at an even `rate`; percentiles of the time until each was decided, ms."""
    lane.tell(f"{count} {rate}")
    lane.finish()
    engine = connect(database)
    query = (
        "SELECT percentile_cont(%(shares)s::float[]) WITHIN GROUP "
        "(ORDER BY extract(epoch FROM decided_at - uploaded_at) * 1000) FROM verdicts WHERE tenant = 'paced'"
    )
    with transaction(engine) as connection:
        shares = [percent / 100 for percent in PERCENTILES]
        found = connection.exec_driver_sql(query, {"shares": shares}).scalar_one()
    engine.dispose()
    return dict(zip(PERCENTILES, found, strict=True))


def _memory(lane: Contestant, backlog: int, say: Callable[[str], None]) -> dict[str, float]:
    """Let the worker judge for a while with a backlog before it."""
    before = resident_mb(lane.processes)
    say(f"announcing {backlog} uploads")
    lane.tell(f"{backlog} backlog")
    lane.finish()
    peak, until = 0.0, time.monotonic() + _WATCH_S
    while time.monotonic() < until:
        peak = max(peak, resident_mb(lane.processes))
        time.sleep(0.2)
    return {"before": before, "with_backlog": peak}
