"""The outages: each takes a part away for some seconds and gives it back."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg

from stream.embedded import Postgres
from tests.faults.stage import Part, Stage, administer, crash, frozen

Outage = Callable[[Part, float], Awaitable[None]]


async def strike(stage: Stage, part: str, kind: str, seconds: float) -> None:
    """One outage of the broker, the database or the object store, from its beginning to its end."""
    await KINDS[kind](stage.parts[part], seconds)


async def _cut(part: Part, _: float) -> None:
    """Every connection is reset; new ones are welcome at once."""
    part.proxy.cut()


async def _refuse(part: Part, seconds: float) -> None:
    part.proxy.refuse()
    await asyncio.sleep(seconds)
    await part.proxy.open()


async def _hold(part: Part, seconds: float) -> None:
    """Connections stay up and nothing passes."""
    part.proxy.hold()
    await asyncio.sleep(seconds)
    part.proxy.flow()


async def _freeze(part: Part, seconds: float) -> None:
    with frozen(part.server.child.pid):
        await asyncio.sleep(seconds)


async def _restart(part: Part, seconds: float) -> None:
    """Stopped in order, started again."""
    await asyncio.to_thread(part.server.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(part.server.start)


async def _crash(part: Part, seconds: float) -> None:
    """Killed, started again."""
    await asyncio.to_thread(crash, part.server)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(part.server.start)


async def _read_only(part: Part, seconds: float) -> None:
    """Postgres refuses every write, as a server does that was demoted (SQLSTATE 25006)."""
    await _ask(part, "alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    await asyncio.sleep(seconds)
    await _ask(part, "alter system reset default_transaction_read_only", "select pg_reload_conf()")


_FULL = """
create or replace function refuse_as_full() returns trigger language plpgsql as $$
begin
    raise exception 'could not extend file: No space left on device' using errcode = 'disk_full';
end $$"""


async def _disk_full(part: Part, seconds: float) -> None:
    """Postgres refuses every insert as it does on a full disk (SQLSTATE 53100)."""
    tables = ("verdicts", "dead_letters", "reviews")
    for table in tables:
        trigger = f"before insert on {table} for each row execute function refuse_as_full()"
        await _ask(part, _FULL, f"create trigger disk_full {trigger}")
    await asyncio.sleep(seconds)
    for table in tables:
        await _ask(part, f"drop trigger disk_full on {table}")


async def _lock(part: Part, seconds: float) -> None:
    """Somebody's migration holds the table of verdicts."""
    async with await psycopg.AsyncConnection.connect(_postgres(part).url()) as connection:
        await connection.execute("lock table verdicts in access exclusive mode")
        await asyncio.sleep(seconds)


async def _terminate(part: Part, _: float) -> None:
    """An administrator ends every session."""
    others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
    await _ask(part, f"{others} and backend_type = 'client backend'")


async def _ask(part: Part, *statements: str) -> None:
    await asyncio.to_thread(administer, _postgres(part), *statements)


def _postgres(part: Part) -> Postgres:
    assert isinstance(part.server, Postgres)
    return part.server


KINDS: dict[str, Outage] = {
    "cut": _cut,
    "refuse": _refuse,
    "hold": _hold,
    "freeze": _freeze,
    "restart": _restart,
    "crash": _crash,
    "read_only": _read_only,
    "disk_full": _disk_full,
    "lock": _lock,
    "terminate": _terminate,
}
