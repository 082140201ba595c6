"""The alert rules: by promtool, and by a real Prometheus that scrapes a real worker in real trouble."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import pytest

from stream.embedded import Postgres, Tansu
from stream.kafka import publish
from stream.settings import Settings
from tests.conftest import Services
from tests.faults.proxy import Proxy
from tests.harness.processes import WorkerProcess, eventually
from tests.harness.scene import worker_settings
from tests.prometheus_server import Prometheus, program, require_prometheus
from tests.unit.picture_files import every_format

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
BAD = 30  # records that are no uploads


def promtool(*words: str) -> str:
    require_prometheus()
    told = subprocess.run(
        [program("promtool"), *words], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def test_every_alert_fires_on_what_it_is_for() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_has_a_test_and_a_page() -> None:
    rules, tests = ((MONITORING / name).read_text("utf-8") for name in ("alerts.yaml", "alerts_test.yaml"))
    guide = (MONITORING.parents[1] / "docs" / "operations.md").read_text("utf-8")
    alerts = re.findall(r"alert: (\w+)", rules)
    assert len(alerts) == len(set(alerts)) > 8
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n", tests), f"no test in which {alert} fires"
        assert f"### {alert}\n" in guide, f"docs/operations.md says nothing of {alert}"


def queries() -> list[str]:
    """Of the dashboard, with its variables filled in; a line that hides at zero is to be there, too."""
    panels = json.loads((MONITORING / "grafana.json").read_text("utf-8"))["panels"]
    written = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    fields = {"$job": "pixassay", "$__rate_interval": "1m", " > 0": ""}
    return [re.sub(r"\$\w+| > 0", lambda found: fields[found[0]], query) for query in written]


def hasty(rules: str) -> str:
    """The same rules with seconds for minutes, and a second to wait before they fire."""
    fast = re.sub(r"(?<!\w)(\d+)m\b", r"\1s", rules)
    return re.sub(r"for: \w+", "for: 1s", fast)


@dataclass
class Watched:
    """A worker process whose database lies behind a proxy, and the Prometheus that scrapes it."""

    settings: Settings
    worker: WorkerProcess
    database: Proxy
    folder: Path
    prometheus: Prometheus = field(init=False)

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        await asyncio.to_thread(eventually, reached, what, 60, 0.2)

    async def monitor(self) -> str:
        """host:port of the worker's window, from its log."""
        found = re.compile(r"/metrics at http://([^\"\s]+)")
        await self.until(lambda: found.search(self.worker.log) is not None, "the monitor listens")
        return str(found.findall(self.worker.log)[0])

    async def readiness(self) -> tuple[int, list[str]]:
        """What /readyz answers: its status and the troubles that it tells."""
        where = f"http://{await self.monitor()}/readyz"
        async with aiohttp.ClientSession() as client, client.get(where) as answer:
            return answer.status, (await answer.json())["troubles"]

    def silent(self) -> list[str]:
        """Queries of the dashboard that give nothing at all."""
        return [query for query in queries() if self.prometheus.value(query) is None]

    async def until_firing(self, *alerts: tuple[str, str]) -> None:
        await self.until(lambda: set(alerts) <= self.prometheus.firing(), f"{alerts} fire")

    async def until_quiet(self, *alerts: tuple[str, str]) -> None:
        await self.until(lambda: not set(alerts) & self.prometheus.firing(), f"{alerts} resolve")


@pytest.fixture
async def watched(
    tansu: Tansu, postgres: Postgres, database_url: str, services: Services, unique: str, tmp_path: Path
) -> AsyncIterator[Watched]:
    require_prometheus()
    database = Proxy()
    behind = database_url.replace(f":{postgres.ports[0]}/", f":{database.port}/")
    assert behind != database_url
    settings = worker_settings(
        tmp_path,
        {**tansu.variables(), "PIXASSAY_DATABASE_URL": behind},
        group=unique,
        monitor_address="127.0.0.1:0",
        json_logs=True,
        log_outcomes=True,
        file_roots=(tmp_path,),
        **{f"topic_{kind}": f"{unique}.{kind}" for kind in ("uploads", "review", "labels", "dead")},
    )
    worker = WorkerProcess(settings, tmp_path)
    seen = Watched(settings, worker, database, tmp_path)
    worker.start()
    with ExitStack() as undo:
        undo.callback(worker.stop)
        rules = tmp_path / "alerts.yaml"
        rules.write_text(hasty((MONITORING / "alerts.yaml").read_text("utf-8")))
        seen.prometheus = await asyncio.to_thread(undo.enter_context, Prometheus(await seen.monitor(), rules))
        services.record(seen.prometheus.version)
        yield seen
        await database.close()


async def test_alerts_fire_in_a_prometheus_that_scrapes_a_worker(
    watched: Watched, postgres: Postgres
) -> None:
    waits, down = ("PixassayPartAway", "database"), ("PixassayNoWorker", "")
    # The database has not been reachable so far: the worker says so before it has even joined the group.
    await watched.until_firing(waits, down, ("PixassayNotReady", ""))
    status, troubles = await watched.readiness()
    assert (status, troubles[0]) == (503, "database is away")
    await watched.database.open(postgres.ports[0])
    await watched.until_quiet(waits, down)
    assert await watched.readiness() == (200, [])

    await announce(watched)
    await watched.until_firing(("PixassayDeadLetters", ""))
    value = watched.prometheus.value
    await watched.until(lambda: value("sum(pixassay_verdicts_total)") == 1, "the picture is judged")
    assert await asyncio.to_thread(value, "sum(pixassay_dead_letters_total)") == BAD
    await watched.until(lambda: value("sum(pixassay_lag_records)") == 0, "nothing is left to be done")
    assert await asyncio.to_thread(value, "count(pixassay_worker_info{engine='openvino'})") == 1

    # The bundle that ships has no reference, or this story too few pictures, for a drift of scores.
    silent = await asyncio.to_thread(watched.silent)
    assert silent == ['pixassay_score_drift{job=~"pixassay"}']

    watched.database.refuse()
    await publish(watched.settings, watched.settings.topic_uploads, [(b"k", b"one more")])
    await watched.until_firing(waits)
    await watched.database.open()
    await watched.until_quiet(waits)
    lines = [orjson.loads(line) for line in watched.worker.log.splitlines() if "upload_id" in line]
    assert {(line["upload_id"], line["tenant"], bool(line["verdict_id"])) for line in lines} == {
        ("one", "t", True)
    }


async def announce(watched: Watched) -> None:
    """One picture, and records that are no uploads."""
    picture = watched.folder / "one.png"
    picture.write_bytes(every_format(0)["PNG"])
    good = {
        "schema": "pixassay.upload/1",
        "upload_id": "one",
        "tenant": "t",
        "uri": picture.as_uri(),
        "uploaded_at": "2026-11-01T00:00:00Z",
    }
    records = [(b"k", orjson.dumps(good)), *[(b"k", b"no upload %d" % number) for number in range(BAD)]]
    await publish(watched.settings, watched.settings.topic_uploads, records)
