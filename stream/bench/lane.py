"""The whole lane against its limit L and against the loop that people write, in turn, in one run.

Broker, object store and database run on the same cores and take their share of them: it is measured, too.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from stream.bench.contest import Contestant, Lap
from stream.bench.processor import cores, cpu_seconds, family
from stream.database import upgrade
from stream.demo_pictures import Picture
from stream.embedded import Stack, embedded_stack
from stream.embedded.places import temporary_folder
from stream.settings import Settings, child_environment

BUCKET = "pixassay-bench"
NAIVE = "trt_build.bench.naive"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: uploads of a round, and rounds."""

    lane: int
    naive: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rounds gave, by contestant. `servers` is CPU seconds an upload while the lane ran."""

    laps: Mapping[str, Sequence[Lap]]
    servers_cpu_ms: float

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


def measure_lane(settings: Settings, pictures: Sequence[Picture], sizes: Sizes) -> Figures:
    """Run all rounds. Raises PixassayError where a contestant breaks off. Without torch no naive loop."""
    embedded = Settings.model_construct()  # the environment's broker and database are nobody's test ground
    with embedded_stack(embedded, BUCKET) as stack, temporary_folder("bench") as folder:
        upgrade(stack.settings.database_url.get_secret_value())
        with ExitStack() as running:
            contestants = _contestants(settings, stack, pictures, folder)
            for contestant in contestants:
                running.enter_context(contestant)
            return _rounds(contestants, sizes)


def _contestants(
    settings: Settings, stack: Stack, pictures: Sequence[Picture], folder: Path
) -> list[Contestant]:
    files, logs = folder / "files", folder / "logs"
    for place in (files, logs):
        place.mkdir()
    for number, picture in enumerate(pictures):
        (files / f"{number:05}").write_bytes(picture.data)
    uris = [stack.store.put(f"{number:05}", picture.data) for number, picture in enumerate(pictures)]
    count, plain = cores(), child_environment({})
    lane = child_environment(
        {"PIXASSAY_SESSION_TIMEOUT_S": "6", "PIXASSAY_KAFKA_SECURITY": "PLAINTEXT", **stack.variables}
    )
    limit = "stream.bench.limit"
    made = [
        Contestant("lane", "stream.bench.lane_worker", {"uris": uris}, logs, lane),
        Contestant("limit", limit, {"folder": str(files), "threads": count}, logs, plain),
        Contestant(
            "limit, a process a core", limit, {"folder": str(files), "threads": 1}, logs, plain, count
        ),
    ]
    if find_spec("torch") is not None:
        made.append(Contestant("naive", NAIVE, _naive_plan(settings, stack, uris), logs, plain))
    return made


def _naive_plan(settings: Settings, stack: Stack, uris: list[str]) -> dict[str, object]:
    at = stack.settings
    secret = at.s3_secret_key.get_secret_value() if at.s3_secret_key else None
    return {
        "bundle": str(settings.bundle),
        "threads": cores(),
        "uris": uris,
        "kafka": at.kafka_bootstrap,
        "database": at.database_url.get_secret_value(),
        "s3": {
            "endpoint_url": at.s3_endpoint,
            "region_name": at.s3_region,
            "aws_access_key_id": at.s3_access_key,
            "aws_secret_access_key": secret,
        },
    }


def _rounds(contestants: Sequence[Contestant], sizes: Sizes) -> Figures:
    """Contestants take turns, so that whatever else the machine does meets all of them."""
    laps: dict[str, list[Lap]] = {each.name: [] for each in contestants}
    servers: list[float] = []
    for _ in range(sizes.rounds):
        for each in contestants:
            others = family(os.getpid()) - {p for one in contestants for p in one.processes} - {os.getpid()}
            before = cpu_seconds(others)
            lap = each.run(sizes.naive if each.name == "naive" else sizes.lane)
            laps[each.name].append(lap)
            if each.name == "lane":
                servers.append((cpu_seconds(others) - before) / lap.pictures * 1000)
    return Figures(laps, statistics.median(servers))
