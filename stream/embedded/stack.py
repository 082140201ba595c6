"""The parts that a demo needs, each given by the settings or else started here."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from stream.embedded.broker import Tansu
from stream.embedded.places import temporary_folder
from stream.embedded.postgres import Postgres
from stream.embedded.server import Server
from stream.embedded.store import DirectoryStore, ObjectStore, S3Store, SeaweedFS
from stream.settings import Settings

StoreKind = Literal["s3", "directory"]


@dataclass(frozen=True, slots=True)
class Stack:
    """Running parts, and the settings that point at all of them."""

    settings: Settings
    variables: dict[str, str]  # what a worker needs in its environment beside what is there already
    parts: dict[str, str]  # "kafka", "database", "object store" -> name and version, or the given address
    store: ObjectStore
    postgres: Postgres | None  # None where the address of a database was given


@contextmanager
def embedded_stack(settings: Settings, bucket: str, store: StoreKind = "s3") -> Iterator[Stack]:
    """Start what `settings` gives no address of. SIGTERM ends it as orderly as Ctrl-C does."""
    given = settings.model_fields_set
    tansu = None if "kafka_bootstrap" in given else Tansu()
    postgres = None if "database_url" in given else Postgres()
    seaweed = None if "s3_endpoint" in given or store == "directory" else SeaweedFS()
    with sigterm_unwinds(), ExitStack() as running:
        _start([server for server in (seaweed, postgres, tansu) if server], running)
        objects = _object_store(settings, seaweed, bucket, running, store)
        variables = {
            **(tansu.variables() if tansu else {}),
            **(postgres.variables() if postgres else {}),
            **(seaweed.variables() if seaweed else {}),
            **objects.variables(),
        }
        parts = {
            "kafka": tansu.version if tansu else f"Kafka at {settings.kafka_bootstrap}",
            "database": postgres.version if postgres else "Postgres as given by PIXASSAY_DATABASE_URL",
            "object store": seaweed.version if seaweed else objects.version,
        }
        yield Stack(_with(settings, variables), variables, parts, objects, postgres)


def _start(servers: list[Server], running: ExitStack) -> None:
    """Start all processes first and wait for each after, so that they start side by side."""
    for server in servers:
        running.push(server)
        server.prepare()
    for server in servers:
        server.wait()


def _object_store(
    settings: Settings, seaweed: SeaweedFS | None, bucket: str, running: ExitStack, kind: StoreKind
) -> ObjectStore:
    if seaweed is not None:
        return seaweed.bucket(bucket)
    if kind == "directory":
        return DirectoryStore(running.enter_context(temporary_folder("objects")))
    secret = settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None
    return S3Store(settings.s3_endpoint, settings.s3_access_key, secret, bucket)


def _with(settings: Settings, variables: dict[str, str]) -> Settings:
    fields = {name.removeprefix("PIXASSAY_").lower(): value for name, value in variables.items()}
    return Settings(**{**settings.model_dump(exclude_unset=True), **fields})


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit(143), so that with statements end in order."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's affair
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
