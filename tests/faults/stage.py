"""The services of a campaign, each behind a proxy of ours, and ways to take them away."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg

from stream.database import upgrade
from stream.embedded import Postgres, SeaweedFS, Tansu
from stream.embedded.places import LOOPBACK
from stream.embedded.server import Server
from tests.faults.plan import Broker
from tests.faults.proxy import Proxy
from tests.harness.processes import children
from tests.kafka_server import ApacheKafka


@dataclass(frozen=True, slots=True)
class Part:
    """One service and the proxy through which everybody reaches it."""

    server: Server
    proxy: Proxy


@dataclass(frozen=True, slots=True)
class Stage:
    """Running services. `parts` has the names of tests/faults/plan.py."""

    broker: Tansu | ApacheKafka
    postgres: Postgres
    seaweedfs: SeaweedFS
    parts: dict[str, Part]

    def variables(self) -> dict[str, str]:
        """PIXASSAY_* variables that lead through the proxies."""
        database, store = self.postgres.variables(), self.seaweedfs.variables()
        ports = {name: part.proxy.port for name, part in self.parts.items()}
        url = urlsplit(database["PIXASSAY_DATABASE_URL"])
        through = url.netloc.replace(f":{self.postgres.ports[0]}", f":{ports['database']}")
        return {
            **store,
            "PIXASSAY_S3_ENDPOINT": f"http://{LOOPBACK}:{ports['object store']}",
            "PIXASSAY_DATABASE_URL": url._replace(netloc=through).geturl(),
            "PIXASSAY_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{ports['broker']}",
        }


@asynccontextmanager
async def stage(kind: Broker) -> AsyncIterator[Stage]:
    """All services, started, the schema made."""
    proxies = {name: Proxy() for name in ("broker", "database", "object store")}
    advertised = proxies["broker"].port
    async with AsyncExitStack() as closing:
        for proxy in proxies.values():
            closing.push_async_callback(proxy.close)
        broker = Tansu(advertised) if kind == "tansu" else ApacheKafka(advertised)
        postgres, seaweedfs = Postgres(), SeaweedFS()
        running = closing.enter_context(_running(broker, postgres, seaweedfs))
        await asyncio.to_thread(running)
        targets = {
            "broker": (broker, broker.ports[0]),
            "database": (postgres, postgres.ports[0]),
            "object store": (seaweedfs, urlsplit(seaweedfs.endpoint).port),
        }
        parts = {}
        for name, (server, port) in targets.items():
            await proxies[name].open(port)
            parts[name] = Part(server, proxies[name])
        await asyncio.to_thread(upgrade, postgres.url())
        yield Stage(broker, postgres, seaweedfs, parts)


@contextmanager
def _running(*servers: Server) -> Iterator[Callable[[], None]]:
    """What is called inside starts the servers; they end with the block."""
    with ExitStack() as stack:

        def start() -> None:
            for server in servers:
                stack.push(server)
                server.prepare()
            for server in servers:
                server.wait()

        yield start


@contextmanager
def frozen(parent: int) -> Iterator[None]:
    """A process and its children, stopped in their tracks: they hold their connections and locks."""
    family = [parent, *children(parent)]
    send(family, signal.SIGSTOP)
    try:
        yield
    finally:
        send(family, signal.SIGCONT)


def crash(server: Server) -> None:
    """SIGKILL to a server and its children."""
    family = children(server.child.pid)
    server.child.kill()
    send(family, signal.SIGKILL)


def send(processes: Iterable[int], number: signal.Signals) -> None:
    """A signal to each of them that is still there."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def rows(postgres: Postgres) -> int:
    """Rows of `verdicts`, asked past the proxy. Raises psycopg.Error while Postgres is away."""
    with psycopg.connect(postgres.url(), connect_timeout=2, options="-c statement_timeout=2s") as connection:
        found = connection.execute("select count(*) from verdicts").fetchone()
    assert found
    return int(found[0])


def administer(postgres: Postgres, *statements: str) -> None:
    """Statements past the proxy, each in its own transaction, in a session that may always write."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")
        for statement in statements:
            connection.execute(statement.encode())
