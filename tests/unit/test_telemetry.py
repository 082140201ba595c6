"""What a worker tells about itself."""

from stream.errors import Outage
from stream.reasons import Reason
from stream.telemetry import OTHERS, Telemetry
from stream.types import Judgement
from tests.fakes import outcome


def test_a_part_is_away_until_the_last_one_that_waits_is_through() -> None:
    telemetry = Telemetry()
    outage = Outage("database", "refused")
    telemetry.lost(outage, "first")
    telemetry.lost(outage, "second")
    telemetry.back("database", "first")
    telemetry.back("database", "never waited")
    assert telemetry.away == {"database"}
    telemetry.back("database", "second")
    assert telemetry.away == frozenset()


def test_the_progress_line_counts_verdicts_dead_letters_and_what_is_waited_for() -> None:
    telemetry = Telemetry()
    telemetry.verdicts.update(["synthetic", "authentic", "authentic"])
    telemetry.dead["bad_json"] += 1
    telemetry.in_flight, telemetry.lags = 5, {("uploads", 0): 3, ("uploads", 1): 4}
    telemetry.lost(Outage("object store", "away"), "me")
    line = telemetry.progress()
    assert line.startswith("4 outcomes (0.0/s), 2 authentic, 1 synthetic, 1 dead letters, 5 in flight, lag 7")
    assert line.endswith("waiting for object store")


def test_an_outage_is_counted_once_however_many_wait_for_it() -> None:
    telemetry = Telemetry()
    for who in ("first", "second"):
        telemetry.lost(Outage("database", "refused"), who)
    assert telemetry.outages == {"database": 1}


def test_tenants_beyond_the_most_that_are_told_apart_are_counted_together() -> None:
    telemetry = Telemetry(tenants=1)
    for tenant in ("a", "b", "a", "c"):
        telemetry.judged(outcome("one", tenant=tenant))
    assert telemetry.by_tenant == {("a", "authentic"): 2, (OTHERS, "authentic"): 2}


def test_reason_codes_of_verdicts_are_counted() -> None:
    telemetry = Telemetry()
    crash = Judgement("unable_to_evaluate", None, {}, (Reason.DECODER_CRASHED,), "policy")
    telemetry.judged(outcome("one", judgement=crash))
    assert telemetry.reasons == {"decoder_crashed": 1}
    assert telemetry.verdicts == {"unable_to_evaluate": 1}


def test_a_worker_tells_why_it_is_not_ready() -> None:
    telemetry = Telemetry()
    assert len(telemetry.troubles()) == 2  # neither loaded nor in the group
    telemetry.about["bundle_id"], telemetry.assigned = "b", frozenset()
    assert telemetry.troubles() == []
    telemetry.lost(Outage("kafka", "refused"), "me")
    telemetry.stopping = True
    assert telemetry.troubles() == ["kafka is away", "it is stopping"]
