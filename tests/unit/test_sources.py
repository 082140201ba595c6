"""The policy for a bucket that stalls: its uploads wait aside or are given up, those of others flow.

The steps are fakes behind the real pipeline: what the policy does must not depend on how a store fails.
"""

import threading
from collections.abc import AsyncIterator, Callable

import pytest

import stream.retry
import stream.sources
from stream.errors import CannotEvaluate, Outage
from stream.events import Upload
from stream.reasons import Reason
from stream.settings import load_settings
from stream.sources import PLACE_BYTES, source_of
from tests.fakes import until, upload
from tests.unit.test_pipeline import Bench

SETTINGS = {"fetchers": 4, "queue_size": 4, "max_bytes": 1000, "max_held_mb": 64}
SICK, SOUND = "s3://sick/", "s3://sound/"


def sick(name: str) -> Upload:
    return upload(name, uri=f"{SICK}{name}")


def sound(name: str) -> Upload:
    return upload(name, uri=f"{SOUND}{name}")


class Store:
    """A fetch that fails, or hangs, for names that start with "sick" until it is mended."""

    def __init__(self, bench: Bench) -> None:
        self.mended, self.hangs = threading.Event(), False
        self.asked: list[str] = []
        self._bench = bench
        bench.fakes.fetch_fault = self._fault

    def _fault(self, name: str) -> None:
        if not name.startswith("sick"):
            return
        self.asked.append(name)
        if self.hangs:
            self.mended.wait(30)
        elif not self.mended.is_set():
            raise Outage("object store", "it does not answer")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same policy, in hundredths of the time."""
    for module, name, value in (
        (stream.retry, "FIRST_S", 0.01),
        (stream.retry, "LONGEST_S", 0.02),
        (stream.sources, "SLOW_S", 0.05),
        (stream.sources, "PROOF_S", 0.05),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
async def benches() -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**changes: object) -> Bench:
        made.append(Bench(load_settings(**{**SETTINGS, **changes})))
        return made[-1]

    yield make
    for bench in made:
        await bench.pipeline.close()


async def flow(bench: Bench, count: int, start: int = 0) -> None:
    """Sound uploads, one after the other, all of which must get through."""
    for number in range(start, start + count):
        bench.submit(sound(f"clean{number}"))
        await until(lambda number=number: ("t", f"clean{number}") in bench.fakes.rows)  # type: ignore[misc]


@pytest.mark.parametrize("hangs", [False, True])
async def test_more_uploads_of_a_stalled_bucket_than_places_hold_up_nobody(
    benches: Callable[..., Bench], hangs: bool
) -> None:
    bench = benches()
    store = Store(bench)
    store.hangs = hangs
    stalled = [f"sick{number}" for number in range(5 * bench.pipeline.room())]
    for name in stalled:
        bench.submit(sick(name))
    await until(lambda: bench.pipeline.room() > 0)
    await flow(bench, 20)
    assert not set(stalled) & set(bench.done)
    assert bench.telemetry.aside > 0
    store.mended.set()
    await until(lambda: len(bench.done) == len(stalled) + 20)
    assert bench.fakes.letters == []
    assert bench.telemetry.aside == 0
    assert bench.telemetry.away == frozenset()


async def test_a_failing_bucket_is_asked_by_one_at_a_time(benches: Callable[..., Bench]) -> None:
    bench, at_once, most = benches(), 0, 0
    lock, failed = threading.Lock(), threading.Event()

    def fault(name: str) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once) if failed.is_set() else most
        try:
            raise Outage("object store", "away")
        finally:
            with lock:
                at_once -= 1

    bench.fakes.fetch_fault = fault
    for number in range(8):
        bench.submit(sick(f"sick{number}"))
    await until(lambda: bench.fakes.calls["fetch"] >= 4)
    failed.set()
    before = bench.fakes.calls["fetch"]
    await until(lambda: bench.fakes.calls["fetch"] >= before + 8)
    assert most == 1


async def test_uploads_of_a_bucket_that_stays_away_are_given_up_while_others_are_served(
    benches: Callable[..., Bench],
) -> None:
    bench = benches(store_patience_s=0.1)
    Store(bench)
    for number in range(20):
        bench.submit(sick(f"sick{number}"))
    served = 0
    while len(bench.fakes.letters) < 20:
        await flow(bench, 1, served)
        served += 1
    assert {letter.reason for letter in bench.fakes.letters} == {Reason.STORE_UNAVAILABLE}
    assert all(letter.upload and letter.upload.uri.startswith(SICK) for letter in bench.fakes.letters)
    assert "s3://sick does not answer while other buckets do" in bench.fakes.letters[0].detail
    assert len(bench.done) == 20 + served
    assert bench.telemetry.aside == 0


async def test_where_no_bucket_answers_nothing_is_given_up(benches: Callable[..., Bench]) -> None:
    bench = benches(store_patience_s=0.0)
    store = Store(bench)
    for number in range(20):
        bench.submit(upload(f"sick{number}", uri=f"s3://bucket{number % 3}/{number}"))
    await until(lambda: len(store.asked) >= 40)
    assert bench.telemetry.away == {"object store"}
    assert bench.done == []
    store.mended.set()
    await until(lambda: len(bench.done) == 20)
    assert bench.fakes.letters == []
    assert bench.telemetry.away == frozenset()


async def test_patience_begins_anew_when_the_store_comes_back(benches: Callable[..., Bench]) -> None:
    """Uploads that waited out an outage of all buckets are not given up as soon as the first one answers."""
    bench = benches(store_patience_s=30.0)
    store = Store(bench)
    for number in range(5):
        bench.submit(sick(f"sick{number}"))
    await until(lambda: len(store.asked) >= 10)
    await flow(bench, 3)
    store.mended.set()
    await until(lambda: len(bench.done) == 8)
    assert bench.fakes.letters == []


async def test_what_finds_no_room_aside_is_given_up_while_another_bucket_answers(
    benches: Callable[..., Bench],
) -> None:
    bench = benches(max_aside=3)
    Store(bench)
    await flow(bench, 1)
    for number in range(5 * bench.pipeline.room()):
        bench.submit(sick(f"sick{number}"))
    await flow(bench, 1, start=1)
    await until(lambda: bench.telemetry.in_flight == 3)
    assert {letter.reason for letter in bench.fakes.letters} == {Reason.STORE_UNAVAILABLE}


async def test_an_upload_with_a_large_record_takes_more_room_aside(benches: Callable[..., Bench]) -> None:
    """Else a few producers could have a worker hold gigabytes for them."""
    bench = benches(max_aside=20)
    Store(bench)
    await flow(bench, 1)
    for number in range(5):
        bench.submit(sick(f"sick{number}"), raw=b" " * (9 * PLACE_BYTES))  # ten places each
    await until(lambda: len(bench.fakes.letters) == 3)
    assert bench.telemetry.aside == 2
    assert {letter.reason for letter in bench.fakes.letters} == {Reason.STORE_UNAVAILABLE}


async def test_without_room_aside_and_without_proof_the_lane_is_held_up(
    benches: Callable[..., Bench],
) -> None:
    bench = benches(max_aside=0, store_patience_s=0.0)
    store = Store(bench)
    for number in range(bench.pipeline.room()):
        bench.submit(sick(f"sick{number}"))
    await until(lambda: len(store.asked) >= 20)
    assert bench.pipeline.room() == 0
    assert bench.fakes.letters == []


async def test_one_object_that_always_fails_does_not_keep_its_bucket_waiting(
    benches: Callable[..., Bench],
) -> None:
    bench = benches(store_patience_s=0.1)

    def fault(name: str) -> None:
        if name == "poison":
            raise Outage("object store", "500")

    bench.fakes.fetch_fault = fault
    bench.submit(sick("poison"))
    served = 0
    while not bench.fakes.letters:
        bench.submit(sick(f"clean{served}"))
        await until(lambda: ("t", f"clean{served}") in bench.fakes.rows)  # noqa: B023 - used at once
        served += 1
    (letter,) = bench.fakes.letters
    assert (letter.reason, letter.upload) == (Reason.STORE_UNAVAILABLE, sick("poison"))


async def test_a_refusal_is_an_answer(benches: Callable[..., Bench]) -> None:
    bench = benches()

    def fault(name: str) -> None:
        raise CannotEvaluate(Reason.NOT_FOUND, name)

    bench.fakes.fetch_fault = fault
    bench.submit(sick("gone"))
    await until(lambda: bench.done == ["gone"])
    assert bench.row("gone").judgement.reasons == (Reason.NOT_FOUND,)


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("s3://bucket/a/b.jpg", "s3://bucket"),
        ("S3://bucket/a", "s3://bucket"),
        ("file:///srv/a.jpg", "file://"),
        ("nonsense", "nonsense://"),
        ("x" * 4000, "x" * 32 + "://"),
    ],
)
def test_the_source_of_a_uri(uri: str, source: str) -> None:
    assert source_of(uri) == source
