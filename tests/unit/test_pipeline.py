"""The pipeline's order, bounds and faults. The steps are fakes: their faults cannot be provoked otherwise."""

import itertools
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from datetime import UTC, datetime

import pytest
from prometheus_client import Histogram

import stream.retry
from stream.errors import BadRecord, ConfigError, Outage, Undeliverable
from stream.events import Upload
from stream.measures import STEPS
from stream.pipeline import ATTEMPTS, Part, Pipeline
from stream.reasons import Reason
from stream.settings import Settings, load_settings
from stream.telemetry import Telemetry
from stream.types import Origin, Outcome
from tests.fakes import FakeParts, until, upload

SETTINGS = load_settings(fetchers=2, queue_size=2, max_batch=2, max_bytes=1000, max_held_mb=64)


class Bench:
    """A pipeline on fakes, and what came out of it."""

    def __init__(self, settings: Settings = SETTINGS, rechecks: bool = False) -> None:
        self.fakes, self.telemetry = FakeParts(), Telemetry()
        self.fakes.rechecks = rechecks
        self.pipeline = Pipeline(self.fakes.parts(), self.fakes, settings, self.telemetry)
        self.done: list[str] = []
        self._offsets = itertools.count()

    def submit(self, content: Upload | BadRecord, raw: bytes = b"raw") -> None:
        origin = Origin("uploads", 0, next(self._offsets))
        name = content.upload_id if isinstance(content, Upload) else str(content.reason)
        part = Part(content, origin, raw, 0, datetime.now(UTC))
        self.pipeline.submit(part, lambda: self.done.append(name))

    async def run(self, *names: str) -> None:
        """Submit uploads and wait until all are done."""
        for name in names:
            self.submit(upload(name))
        await self.until(lambda: len(self.done) == len(names))

    async def until(self, reached: Callable[[], bool]) -> None:
        await until(reached)

    def row(self, name: str) -> Outcome:
        return self.fakes.rows["t", name]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(stream.retry, "FIRST_S", 0.01)
    monkeypatch.setattr(stream.retry, "LONGEST_S", 0.02)
    made = Bench()
    yield made
    await made.pipeline.close()


class Failing:
    """A fault that raises for one name, for the first `times` calls."""

    def __init__(self, error: BaseException, name: str = "", times: int = 10**9) -> None:
        self.error, self.name, self.left = error, name, times

    def __call__(self, name: str) -> None:
        if name.startswith(self.name) and self.left > 0:
            self.left -= 1
            raise self.error


async def test_each_upload_gets_its_row_and_only_suspects_are_flagged(bench: Bench) -> None:
    names = ["clean1", "synthetic1", "bad1", "blank1", "clean2"]
    await bench.run(*names)
    verdicts = {name: bench.row(name).judgement.verdict for name in names}
    assert verdicts == {
        "clean1": "authentic",
        "synthetic1": "synthetic",
        "bad1": "unable_to_evaluate",
        "blank1": "not_applicable",
        "clean2": "authentic",
    }
    assert [outcome.job.upload.upload_id for outcome in bench.fakes.reviews] == ["synthetic1"]
    assert bench.row("bad1").sha256 == "00" * 32
    assert bench.row("bad1").facts is None
    assert bench.fakes.letters == []


async def test_what_uploads_take_and_meet_is_measured(bench: Bench) -> None:
    faults = [Outage("object store", "away"), ZeroDivisionError("defect")]
    bench.fakes.fetch_fault = lambda name: None if name != "clean1" or not faults else throw(faults.pop())
    await bench.run("clean1", "synthetic1", "bad1")
    calls = {step: count_of(bench.telemetry.measures.steps[step]) for step in STEPS}
    assert calls == {"fetch": 5, "decode": 3, "detect": 2, "store": 3, "flag": 1}
    assert (bench.telemetry.defects, bench.telemetry.retries) == (1, {"object store": 1})
    assert bench.telemetry.reasons == {"above_synthetic": 1, "corrupt": 1}
    assert bench.telemetry.depths() == {
        step: (0, places) for step, places in {"fetch": 4, "decode": 3, "detect": 4, "store": 258}.items()
    }


def throw(error: Exception) -> None:
    raise error


def count_of(histogram: Histogram) -> float:
    [family] = histogram.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_count"))


async def test_a_bad_record_becomes_a_dead_letter_with_its_value(bench: Bench) -> None:
    bench.submit(BadRecord(Reason.BAD_JSON, "nul \x00 inside"), raw=b"{")
    await bench.until(lambda: bench.done == ["bad_json"])
    (letter,) = bench.fakes.letters
    assert (letter.reason, letter.raw, letter.upload) == (Reason.BAD_JSON, b"{", None)
    assert "\x00" not in letter.detail
    assert bench.fakes.announced == [letter]


async def test_a_dead_letter_of_an_erased_upload_is_not_told_of(bench: Bench) -> None:
    bench.fakes.fetch_fault = Failing(Undeliverable(Reason.URI_NOT_ALLOWED, "outside"))
    bench.fakes.erased = {"gone"}
    await bench.run("gone", "kept")
    assert [letter.upload for letter in bench.fakes.announced] == [upload("kept")]
    assert sorted(bench.done) == ["gone", "kept"]


async def test_an_undeliverable_upload_becomes_a_dead_letter_and_is_not_tried_again(bench: Bench) -> None:
    bench.fakes.fetch_fault = Failing(Undeliverable(Reason.URI_NOT_ALLOWED, "outside"))
    await bench.run("one")
    (letter,) = bench.fakes.letters
    assert (letter.reason, letter.attempts) == (Reason.URI_NOT_ALLOWED, 1)
    assert letter.upload == upload("one")
    assert bench.fakes.calls["fetch"] == 1


@pytest.mark.parametrize(
    "step", ["fetch_fault", "decode_fault", "score_fault", "write_fault", "review_fault"]
)
async def test_a_defect_is_tried_again_and_then_buried_while_others_flow(bench: Bench, step: str) -> None:
    fault = Failing(ZeroDivisionError("defect"), "synthetic-odd" if step != "score_fault" else "")
    setattr(bench.fakes, step, fault)
    if step == "score_fault":
        await bench.run("synthetic-odd")
    else:
        await bench.run("synthetic-odd", "clean1", "clean2", "clean3")
        assert bench.row("clean3").judgement.verdict == "authentic"
    (letter,) = bench.fakes.letters
    assert (letter.reason, letter.attempts) == (Reason.INTERNAL_ERROR, ATTEMPTS)
    assert "ZeroDivisionError" in letter.detail


async def test_a_defect_that_passes_leaves_a_verdict(bench: Bench) -> None:
    bench.fakes.decode_fault = Failing(ZeroDivisionError("defect"), times=ATTEMPTS - 1)
    await bench.run("clean")
    assert bench.row("clean").judgement.verdict == "authentic"
    assert bench.fakes.letters == []


async def test_a_cancelled_future_of_a_step_is_a_defect_not_the_end_of_the_upload(bench: Bench) -> None:
    bench.fakes.decode_fault = Failing(CancelledError(), times=1)
    await bench.run("clean")
    assert bench.row("clean").judgement.verdict == "authentic"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("fetch_fault", Outage("object store", "away")),
        ("decode_fault", Outage("decoder", "no process")),
        ("score_fault", Outage("engine", "the device is lost")),
        ("write_fault", Outage("database", "away")),
        ("write_fault", ConfigError("a right is missing")),
        ("review_fault", Outage("kafka", "away")),
    ],
)
async def test_an_outage_is_waited_out_however_many_tries_it_takes(
    bench: Bench, step: str, error: Exception
) -> None:
    setattr(bench.fakes, step, Failing(error, times=ATTEMPTS + 5))
    names = ["synthetic1", "synthetic2", "synthetic3"]
    await bench.run(*names)
    assert sorted(bench.done) == names
    assert len(bench.fakes.rows) == 3
    assert {item.job.upload.upload_id for item in bench.fakes.reviews} == set(names)
    assert bench.fakes.letters == []
    assert bench.telemetry.away == frozenset()


async def test_an_outage_is_logged_once_at_each_end(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pixassay")
    bench.fakes.write_fault = Failing(Outage("database", "connection refused"), times=8)
    await bench.run(*(f"clean{number}" for number in range(6)))
    assert [record.getMessage() for record in caplog.records] == [
        "database is away, waiting for it: connection refused",
        "database is back",
    ]


async def test_a_dead_letter_that_cannot_be_stored_is_waited_for_not_dropped(bench: Bench) -> None:
    bench.fakes.bury_fault = Failing(ValueError("refused"), times=5)
    bench.submit(BadRecord(Reason.BAD_JSON, "x"))
    await bench.until(lambda: "database" in bench.telemetry.away)
    assert bench.done == []
    await bench.until(lambda: bench.done == ["bad_json"])
    assert len(bench.fakes.letters) == 1


async def test_one_row_that_the_store_refuses_does_not_take_its_batch_along(bench: Bench) -> None:
    bench.fakes.gate = threading.Event()
    bench.fakes.write_fault = Failing(ValueError("refused"), "odd")
    for name in ("odd", "clean1", "clean2"):
        bench.submit(upload(name))
    bench.fakes.gate.set()
    await bench.until(lambda: len(bench.done) == 3)
    assert {key[1] for key in bench.fakes.rows} == {"clean1", "clean2"}
    assert [letter.reason for letter in bench.fakes.letters] == [Reason.INTERNAL_ERROR]


async def test_what_the_store_holds_already_decides_what_is_flagged(bench: Bench) -> None:
    await bench.run("synthetic1")
    first = bench.row("synthetic1")
    bench.fakes.lenient = True
    bench.submit(upload("synthetic1"))  # a replay that would be judged otherwise now
    await bench.until(lambda: len(bench.done) == 2)
    assert bench.row("synthetic1") is first
    assert bench.fakes.reviews == [first, first]


async def test_a_row_is_stored_before_it_is_flagged_and_done_comes_last(bench: Bench) -> None:
    seen: list[tuple[bool, list[str]]] = []
    bench.fakes.review_fault = lambda name: seen.append((("t", name) in bench.fakes.rows, list(bench.done)))
    await bench.run("synthetic1")
    assert seen == [(True, [])]


async def test_a_stalled_step_bounds_what_is_taken_in(bench: Bench) -> None:
    bench.fakes.gate = threading.Event()
    room = bench.pipeline.room()
    for number in range(room):  # of two sources: one alone never has all fetchers
        bench.submit(upload(f"clean{number}", uri=f"fake{number % 2}://it"))
    assert bench.pipeline.room() == 0
    await bench.until(lambda: bench.fakes.calls["fetch"] == SETTINGS.fetchers)
    bench.pipeline.room_made.clear()
    bench.fakes.gate.set()
    await bench.pipeline.room_made.wait()
    await bench.until(lambda: len(bench.done) == room)
    assert bench.pipeline.room() == room


async def test_a_slow_step_holds_up_the_ones_before_it(bench: Bench) -> None:
    bench.fakes.score_delay_s = 0.02
    most = 0
    for number in range(40):
        bench.submit(upload(f"clean{number}"))

    def all_done() -> bool:
        nonlocal most
        most = max(most, bench.fakes.calls["decode"] - bench.fakes.calls["scored"])
        return len(bench.done) == 40

    await bench.until(all_done)
    decoding, detecting = 1 + SETTINGS.queue_size, SETTINGS.max_batch + SETTINGS.queue_size
    assert SETTINGS.max_batch < most <= decoding + detecting


async def test_closing_gives_up_without_marking_done(bench: Bench) -> None:
    bench.fakes.write_fault = Failing(Outage("database", "away"))
    bench.submit(upload("clean"))
    await bench.until(lambda: "database" in bench.telemetry.away)
    await bench.pipeline.close()
    assert bench.done == []
    assert bench.telemetry.in_flight == 0
    assert bench.telemetry.away == frozenset()


async def test_what_would_be_flagged_is_scored_again_on_a_copy_and_only_that(bench: Bench) -> None:
    again = Bench(rechecks=True)
    names = ["clean1", "synthetic1", "synthetic-fragile"]
    for one, expected in ((bench, "synthetic"), (again, "authentic")):
        await one.run(*names)
        found = [one.row(name).judgement.verdict for name in names]
        assert found == ["authentic", "synthetic", expected]
    assert (bench.fakes.calls["copy"], again.fakes.calls["copy"]) == (0, 2)
    await again.until(lambda: again.pipeline._budget.held == 0)
    await again.pipeline.close()
