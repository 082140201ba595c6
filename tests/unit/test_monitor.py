"""The worker's HTTP window, asked over a real socket, and the names that it shows to Prometheus."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream.errors import ConfigError, Outage
from stream.monitor import Monitor, monitored
from stream.settings import DEFAULT_MONITOR, load_settings
from stream.telemetry import Telemetry
from tests.fakes import outcome


class Window:
    """A monitor that listens, its telemetry, and a client."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.monitor = Monitor("127.0.0.1:0", self.telemetry)

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as client, client.get(self.monitor.url + path) as answer:
            return answer.status, await answer.text()

    async def samples(self) -> dict[tuple[str, str], float]:
        """(name, the values of its labels in the order of their names) -> value."""
        _, text = await self.get("/metrics")
        families = text_string_to_metric_families(text)
        return {
            (s.name, ",".join(s.labels[label] for label in sorted(s.labels))): s.value
            for family in families
            for s in family.samples
        }


@pytest.fixture
async def window() -> AsyncIterator[Window]:
    made = Window()
    await made.monitor.start()
    yield made
    await made.monitor.stop()


async def test_a_worker_is_alive_before_it_is_ready(window: Window) -> None:
    assert (await window.get("/healthz"))[0] == 200
    status, text = await window.get("/readyz")
    assert status == 503
    assert "not loaded" in text


async def test_readiness_follows_outages(window: Window) -> None:
    telemetry = window.telemetry
    telemetry.about["bundle_id"], telemetry.assigned = "b", frozenset({("uploads", 1)})
    status, text = await window.get("/readyz")
    body = orjson.loads(text)
    assert (status, body["ready"], body["troubles"], body["partitions"]) == (200, True, [], ["uploads/1"])
    with telemetry.waiting_for(Outage("database", "refused")):
        status, text = await window.get("/readyz")
        assert (status, "database is away" in text) == (503, True)
        assert (await window.samples())["pixassay_ready", ""] == 0
    assert (await window.get("/readyz"))[0] == 200
    assert (await window.samples())["pixassay_outages_total", "database"] == 1


async def test_counts_and_states_reach_prometheus(window: Window) -> None:
    telemetry = window.telemetry
    telemetry.judged(outcome("one"))
    telemetry.dead["bad_json"] += 2
    telemetry.lags = {("uploads", 3): 40}
    telemetry.depths = lambda: {"fetch": (5, 80)}
    telemetry.measures.steps["decode"].observe(0.02)
    seen = await window.samples()
    assert seen["pixassay_verdicts_total", "authentic"] == 1
    assert seen["pixassay_verdicts_total", "synthetic"] == 0  # there from the start: rates miss nothing
    assert seen["pixassay_dead_letters_total", "bad_json"] == 2
    assert seen["pixassay_lag_records", "3,uploads"] == 40
    assert (seen["pixassay_step_uploads", "fetch"], seen["pixassay_step_places", "fetch"]) == (5, 80)
    assert seen["pixassay_step_seconds_count", "decode"] == 1
    assert seen["pixassay_upload_seconds_sum", ""] == 0.25
    assert ("pixassay_score_drift", "") not in seen  # no reference, no number


async def test_an_address_that_is_taken_stops_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"{place}: another process listens there"):
            async with monitored(load_settings(monitor_address=place), Telemetry()):
                pytest.fail("it did not start")


async def test_the_default_is_given_up_where_it_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    host, port = DEFAULT_MONITOR.split(":")
    try:
        server = await asyncio.start_server(lambda *_: None, host, int(port))
    except OSError:
        server = None  # some other worker has it already, which is as good
    async with monitored(load_settings(), Telemetry()):
        assert "no metrics and no probes" in caplog.text
    if server:
        server.close()


@pytest.mark.parametrize("address", ["9464", "host:", "host:http", "host:1/x", ":9"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="host:port was expected"):
        Monitor(address, Telemetry())
