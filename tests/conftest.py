"""Real services for the tests, started once a run on free ports, and named at its end.

Tests share a server but nothing on it: each takes its own database, bucket and topic names.
A test that stops a server takes a `fresh_` one.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from models.bundle import Bundle, load_bundle
from stream.database import upgrade
from stream.embedded import Postgres, S3Store, SeaweedFS, Tansu
from stream.settings import PREFIX, Settings
from tests.kafka_server import ApacheKafka, require_java

TEMPLATE = "pixassay_migrated"
_USED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Nothing of the developer's own environment reaches a test, nor do a test's calls reach AWS."""
    config.stash[_USED] = []
    for name in [name for name in os.environ if name.startswith((PREFIX, "AWS_"))]:
        del os.environ[name]
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
    os.environ |= {"AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    Settings.model_config["env_file"] = None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    used = config.stash[_USED]
    terminalreporter.write_sep("=", "real services used")
    terminalreporter.write_line("\n".join(used) if used else "none: only unit tests were run")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tests run in several processes: each tells the one that reports which services it used."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["services"] = session.config.stash[_USED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """xdist's hook, in the process that reports."""
    used = node.config.stash[_USED]
    used += [
        version for version in getattr(node, "workeroutput", {}).get("services", []) if version not in used
    ]


class Services:
    """The real services that this run used, with versions."""

    def __init__(self, used: list[str]) -> None:
        self._used = used

    def record(self, version: str) -> None:
        if version not in self._used:
            self._used.append(version)


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Services:
    return Services(pytestconfig.stash[_USED])


@pytest.fixture(scope="session")
def tansu(services: Services) -> Iterator[Tansu]:
    """A broker for all tests; take topic and group names from `unique`."""
    with Tansu() as server:
        services.record(server.version)
        yield server


@pytest.fixture
def fresh_tansu(services: Services) -> Iterator[Tansu]:
    """A broker that the test may stop. It keeps data over `pause`, not over `stop`."""
    with Tansu() as server:
        services.record(server.version)
        yield server


@pytest.fixture(scope="session")
def apache_kafka(services: Services) -> Iterator[ApacheKafka]:
    """A broker for all tests; take topic and group names from `unique`."""
    require_java()
    with ApacheKafka() as server:
        services.record(server.version)
        yield server


@pytest.fixture
def fresh_apache_kafka(services: Services) -> Iterator[ApacheKafka]:
    """A broker that the test may stop; it keeps its data."""
    require_java()
    with ApacheKafka() as server:
        services.record(server.version)
        yield server


@pytest.fixture
def unique() -> str:
    """A word for topics, groups, tenants: no other test has it."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def postgres(services: Services) -> Iterator[Postgres]:
    """A server for all tests, with a migrated template database."""
    with Postgres() as server:
        services.record(server.version)
        upgrade(server.create_database(TEMPLATE))
        yield server


@pytest.fixture
def database_url(postgres: Postgres, unique: str) -> Iterator[str]:
    """An own database at the newest revision, empty."""
    yield postgres.create_database(unique, template=TEMPLATE)
    postgres.drop_database(unique)


@pytest.fixture
def bare_database_url(postgres: Postgres, unique: str) -> Iterator[str]:
    """An own database without any table."""
    name = f"bare_{unique}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@pytest.fixture
def fresh_postgres(services: Services) -> Iterator[Postgres]:
    """A server that the test may stop, with its first database at the newest revision."""
    with Postgres() as server:
        services.record(server.version)
        upgrade(server.url())
        yield server


@pytest.fixture(scope="session")
def seaweedfs(services: Services) -> Iterator[SeaweedFS]:
    """An S3 server for all tests."""
    with SeaweedFS() as server:
        services.record(server.version)
        yield server


@pytest.fixture
def bucket(seaweedfs: SeaweedFS, unique: str) -> S3Store:
    """An own bucket; `.put(key, data)` returns the s3:// URI."""
    return seaweedfs.bucket(unique)


@pytest.fixture
def fresh_seaweedfs(services: Services) -> Iterator[SeaweedFS]:
    """An S3 server that the test may stop."""
    with SeaweedFS() as server:
        services.record(server.version)
        yield server


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A complete bundle with random weights: 3 detectors, milliseconds an image.

    One for all processes of a run: its export takes longer than most tests.
    """
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # a worker's own folder lies in the run's
    shared = run / "tiny-bundle"
    with (run / "tiny-bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            from trt_build.tiny import write_tiny_bundle  # torch: only where a test asks for it

            write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle").path.rename(shared)
    return load_bundle(shared)
