"""A worker whose connections are all TLS with a password works, and keeps its secrets through failures."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from models.bundle import Bundle
from stream.commands.doctor import examine
from stream.database import upgrade
from stream.embedded import Postgres
from stream.embedded.server import Server
from stream.errors import Outage
from stream.events import Label, Upload, verdict_id
from stream.fetch import Fetcher
from stream.kafka import ensure_topics, publish
from stream.settings import Settings
from tests.conftest import Services
from tests.harness.pictures import pictures
from tests.harness.processes import WorkerProcess, eventually, pixassay
from tests.harness.scene import worker_settings
from tests.harness.seen import Database
from tests.kafka_server import require_java
from tests.tls import Certificates, PostgresTls, SecureKafka, SecureSeaweedFS, certificates

pytestmark = pytest.mark.kafka

# Words that stand nowhere else, so that a search for them proves something.
KAFKA_SECRET, DATABASE_SECRET, S3_SECRET = (
    "kafka5ecret0marked",
    "database5ecret0marked",
    "object5ecret0marked",
)
SECRETS = (KAFKA_SECRET, DATABASE_SECRET, S3_SECRET)


@dataclass(frozen=True, slots=True)
class Secure:
    """The services, and settings with which a worker reaches them."""

    kafka: SecureKafka
    postgres: Postgres
    seaweedfs: SecureSeaweedFS
    terminator: PostgresTls
    made: Certificates
    settings: Settings
    folder: Path


@pytest.fixture(scope="module")
def secure(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, services: Services
) -> Iterator[Secure]:
    require_java()
    folder = tmp_path_factory.mktemp("secure")
    made = certificates(folder)
    kafka, postgres = SecureKafka(made, KAFKA_SECRET), Postgres()
    seaweedfs, terminator = SecureSeaweedFS(made, S3_SECRET), PostgresTls(made, postgres)
    with ExitStack() as running:
        for server in (kafka, postgres, seaweedfs):
            running.enter_context(server)
            services.record(f"{server.version}, TLS" if server is not postgres else server.version)
        running.enter_context(terminator)
        upgrade(postgres.url())
        postgres.query(f"create role worker login password '{DATABASE_SECRET}' in role pixassay_worker")
        database = f"postgresql://worker:{DATABASE_SECRET}@127.0.0.1:{terminator.port}/pixassay"
        url = f"{database}?sslmode=verify-full&sslrootcert={made.authority}"
        variables = {**kafka.variables(), **seaweedfs.variables(), "PIXASSAY_DATABASE_URL": url}
        settings = worker_settings(folder, variables, bundle=tiny_bundle.path, s3_timeout_s=2.0)
        yield Secure(kafka, postgres, seaweedfs, terminator, made, settings, folder)


def announce(secure: Secure, upload_id: str, uri: str) -> None:
    """One upload event, through the settings' own connection."""
    upload = Upload(upload_id=upload_id, tenant="t", uri=uri, uploaded_at=datetime.now(UTC))
    asyncio.run(publish(secure.settings, secure.settings.topic_uploads, [(None, upload.to_bytes())]))


def label(upload_id: str, bundle: str) -> bytes:
    made = Label(
        verdict_id=UUID(verdict_id("t", upload_id, bundle)),
        tenant="t",
        upload_id=upload_id,
        decision="authentic",
        reviewer="ana",
        decided_at=datetime.now(UTC),
    )
    return made.to_bytes()


@pytest.mark.parametrize("part", ["kafka", "database", "object store"])
def test_a_server_that_an_unknown_authority_vouches_for_is_refused(
    secure: Secure, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    url, stranger = secure.settings.database_url.get_secret_value(), str(secure.made.stranger)
    wrong: dict[str, dict[str, object]] = {
        "kafka": {"kafka_ca_file": secure.made.stranger},
        "database": {"database_url": SecretStr(url.replace(str(secure.made.authority), stranger))},
        "object store": {"s3_ca_file": secure.made.stranger},
    }
    settings = secure.settings.model_copy(update={**wrong[part], "bundle": Path("/nowhere")})
    (finding,) = [one for one in examine(settings) if one.name == part]
    assert not finding.ok
    told = finding.detail + caplog.text  # aiokafka logs why, and raises that it cannot connect
    assert "certificate verify failed" in told.lower()


def test_a_picture_is_not_fetched_from_a_server_of_an_unknown_authority(secure: Secure) -> None:
    settings = secure.settings.model_copy(update={"s3_ca_file": secure.made.stranger})
    upload = Upload(upload_id="a", uri="s3://pictures/a.jpg", uploaded_at=datetime.now(UTC))
    with pytest.raises(Outage, match="certificate verify failed"):
        Fetcher(settings).fetch(upload)


@pytest.mark.parametrize("part", ["kafka", "database"])
def test_a_wrong_password_is_told_without_it(
    secure: Secure, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = secure.settings.database_url.get_secret_value()
    wrong: dict[str, dict[str, object]] = {
        "kafka": {"kafka_password": SecretStr("wr0ng-marked")},
        "database": {"database_url": SecretStr(url.replace(DATABASE_SECRET, "wr0ng-marked"))},
    }
    settings = secure.settings.model_copy(update={**wrong[part], "bundle": Path("/nowhere")})
    (finding,) = [one for one in examine(settings) if one.name == part]
    assert not finding.ok
    told = finding.detail + caplog.text
    assert "authentication failed" in told.lower()
    assert "wr0ng-marked" not in told


def test_a_worker_judges_over_tls_and_never_tells_its_secrets(secure: Secure, tiny_bundle: Bundle) -> None:
    settings, database = secure.settings, Database(secure.postgres, "pixassay")
    asyncio.run(ensure_topics(settings))
    worker = WorkerProcess(settings, secure.folder)
    worker.start()
    try:
        announce(secure, "first", secure.seaweedfs.bucket("pictures").put("a.jpg", pictures()[0].data))
        eventually(lambda: database.rows() == 1, "the first row")
        asyncio.run(publish(settings, settings.topic_labels, [(None, label("first", tiny_bundle.id))]))
        eventually(lambda: database.ask("select count(*) from reviews") == "1\n", "the label")
        assert secure.terminator.encrypted > 0
        checked = pixassay(settings, "doctor")
        assert checked.returncode == 0, checked.stdout
        _fail_in_turn(secure, worker, database)
    finally:
        worker.stop()
    told = worker.log + checked.stdout + checked.stderr
    for part in ("object store", "database", "kafka"):
        assert f"{part} is away" in told
    assert [secret for secret in SECRETS if secret in told] == []


def _fail_in_turn(secure: Secure, worker: WorkerProcess, database: Database) -> None:
    """Each service goes while there is work for it. The broker last: it does not come back, for any test."""
    parts: list[tuple[str, Server]] = [("object store", secure.seaweedfs), ("database", secure.postgres)]
    for number, (part, server) in enumerate(parts):
        uri = secure.seaweedfs.bucket("pictures").put("more.jpg", pictures()[0].data)
        server.stop()
        announce(secure, f"while {part} is away", uri)
        eventually(lambda: f"{part} is away" in worker.log, f"word that {part} is away")  # noqa: B023
        server.start()
        eventually(lambda: database.rows() == 2 + number, f"the row after {part} came back")  # noqa: B023
    secure.kafka.child.kill()
    eventually(lambda: "kafka is away" in worker.log, "word that the broker is away")
