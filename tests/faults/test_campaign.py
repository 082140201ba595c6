"""A short campaign on each broker, and what campaigns are drawn from."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.conftest import Services
from tests.faults.campaign import run
from tests.faults.outages import KINDS
from tests.faults.plan import Broker, draw
from tests.kafka_server import require_java


@pytest.mark.parametrize("broker", ["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_a_short_campaign_loses_nothing(
    broker: Broker, tiny_bundle: Bundle, tmp_path: Path, services: Services
) -> None:
    if broker == "kafka":
        require_java()
    result = asyncio.run(run(4, 3, 5, broker, tiny_bundle.path, tmp_path))
    services.record(result.broker)
    assert (result.lost, result.doubled, result.unflagged, result.uncommitted) == (0, 0, 0, 0)
    assert result.died == []
    assert (result.kills, result.outages) == (4, 3)
    assert result.uploads > 200
    assert result.flagged > 20


def test_a_seed_always_draws_the_same() -> None:
    assert draw(20, 20, 7, "kafka") == draw(20, 20, 7, "kafka")
    assert draw(20, 20, 7, "kafka") != draw(20, 20, 8, "kafka")


def test_a_plan_holds_what_was_asked_for() -> None:
    plan = draw(100, 200, 3, "kafka")
    assert sum(event.deed == "kill" for event in plan.events) == 100
    outages = [event for event in plan.events if event.deed == "outage"]
    assert len(outages) == 200
    assert {event.kind for event in outages if event.part != "worker"} == KINDS.keys()
    for part in ("broker", "database", "object store", "worker"):
        own = [event for event in outages if event.part == part]
        assert len(own) == 50
        assert all(one.at + one.seconds < other.at for one, other in pairwise(own))


def test_a_broker_that_keeps_nothing_is_never_restarted() -> None:
    events = draw(0, 400, 1, "tansu").events
    assert {"cut", "freeze"} < {event.kind for event in events if event.part == "broker"}
    assert not {"restart", "crash"} & {event.kind for event in events if event.part == "broker"}
