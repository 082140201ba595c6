"""The embedded servers answer, come back on the same address, and never outlive their owner."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.embedded import Postgres, S3Store, SeaweedFS, Tansu, embedded_stack
from stream.embedded.broker import answers_kafka
from stream.embedded.places import LOOPBACK, Ports, remove_abandoned, temporary_folder
from stream.embedded.postgres import embedded_postgres_folder
from stream.embedded.process import Child
from stream.errors import ConfigError
from stream.settings import load_settings


def topics(tansu: Tansu) -> set[str]:
    return set(AdminClient({"bootstrap.servers": tansu.bootstrap}).list_topics(timeout=10).topics)


def make_topic(tansu: Tansu, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": tansu.bootstrap})
    admin.create_topics([NewTopic(name, 2)])[name].result(10)


def test_tansu_freezes_without_loss_and_forgets_on_restart(fresh_tansu: Tansu, unique: str) -> None:
    address = fresh_tansu.bootstrap
    make_topic(fresh_tansu, unique)
    fresh_tansu.pause()
    assert not answers_kafka(LOOPBACK, fresh_tansu.ports[0])
    fresh_tansu.resume()
    assert unique in topics(fresh_tansu)
    fresh_tansu.restart()
    assert fresh_tansu.bootstrap == address
    assert unique not in topics(fresh_tansu)


def test_postgres_keeps_rows_over_a_restart(fresh_postgres: Postgres) -> None:
    fresh_postgres.query("create table kept (word text); insert into kept values ('here')")
    fresh_postgres.restart()
    with psycopg.connect(fresh_postgres.url()) as connection:
        assert connection.execute("select word from kept").fetchall() == [("here",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
def test_postgres_runs_from_a_folder_that_only_root_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    installed = embedded_postgres_folder()
    for part in (installed.parent, installed.parent.with_name("embedded_postgres.libs")):
        shutil.copytree(part, tmp_path / part.name)
    monkeypatch.setattr(
        "stream.embedded.postgres.embedded_postgres_folder",
        lambda: tmp_path / installed.parent.name / installed.name,
    )
    with Postgres() as server:
        assert server.query("select 1") == "1\n"
        assert not server.psql.is_relative_to(tmp_path)


def test_postgres_wants_the_password(postgres: Postgres) -> None:
    without = f"postgresql://pixassay@{LOOPBACK}:{postgres.ports[0]}/pixassay"
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(without)


def test_databases_of_two_tests_are_apart(
    postgres: Postgres, database_url: str, bare_database_url: str
) -> None:
    for url, migrated in ((database_url, True), (bare_database_url, False)):
        with psycopg.connect(url) as connection:
            found = connection.execute("select to_regclass('verdicts') is not null").fetchone()
        assert found == (migrated,)


def test_seaweedfs_keeps_objects_over_a_restart(fresh_seaweedfs: SeaweedFS) -> None:
    uri = fresh_seaweedfs.bucket("kept").put("a folder/b+c.jpg", b"bytes")
    assert uri == "s3://kept/a folder/b+c.jpg"
    fresh_seaweedfs.restart()
    found = fresh_seaweedfs.client().get_object(Bucket="kept", Key="a folder/b+c.jpg")
    assert found["Body"].read() == b"bytes"


def test_seaweedfs_has_room_for_many_buckets_on_a_full_disk(seaweedfs: SeaweedFS) -> None:
    """Each bucket takes volumes, a few for a small one; the server's own limit follows the free space."""
    master = f"http://{LOOPBACK}:{seaweedfs.ports[0]}/dir/status"
    with urlopen(master, timeout=10) as answer:
        topology = json.load(answer)["Topology"]
    assert topology["Max"] > 10_000


def test_seaweedfs_refuses_strangers(seaweedfs: SeaweedFS) -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        S3Store(seaweedfs.endpoint, "pixassay", "wrong", "other")


def test_a_directory_is_a_store_too() -> None:
    settings = load_settings(kafka_bootstrap="given:9092", database_url="postgresql://given/db")
    with embedded_stack(settings, "unused", store="directory") as stack:
        uri = stack.store.put("a/b c.jpg", b"bytes")
        [root] = stack.settings.file_roots
        assert uri == (root / "a" / "b c.jpg").as_uri()
        assert (root / "a" / "b c.jpg").read_bytes() == b"bytes"
    assert not root.exists()


def test_what_is_given_is_not_started(tansu: Tansu, database_url: str, seaweedfs: SeaweedFS) -> None:
    given = load_settings(
        kafka_bootstrap=tansu.bootstrap,
        database_url=database_url,
        s3_endpoint=seaweedfs.endpoint,
        s3_access_key=seaweedfs.access_key,
        s3_secret_key=seaweedfs.secret_key,
    )
    with embedded_stack(given, "given-bucket") as stack:
        assert stack.variables == {}
        assert stack.postgres is None
        assert stack.settings == given
        assert stack.store.put("k", b"x") == "s3://given-bucket/k"
        assert database_url.rpartition("@")[0] not in "".join(stack.parts.values())  # no password is shown


def test_two_stacks_at_once_do_not_meet() -> None:
    with embedded_stack(load_settings(), "one") as one, embedded_stack(load_settings(), "two") as two:
        assert not set(one.variables.values()) & set(two.variables.values()) - {"pixassay"}
        assert one.settings.s3_endpoint != two.settings.s3_endpoint


OWNER = """
import sys
from stream.embedded import embedded_stack
from stream.settings import load_settings
with embedded_stack(load_settings(), "mine") as stack:
    print(*stack.postgres.ports, stack.variables["PIXASSAY_KAFKA_BOOTSTRAP"].rpartition(":")[2],
          stack.variables["PIXASSAY_S3_ENDPOINT"].rpartition(":")[2], flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(temporary: Path) -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """A process that owns all three servers, and their ports."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    # A run in the background of a script ignores SIGINT, and its children inherit that.
    command = ["env", "--default-signal=INT", sys.executable, "-c", OWNER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout
        try:
            yield process, [int(port) for port in process.stdout.readline().split()]
        finally:
            process.kill()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def gone(ports: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(listening(port) for port in ports) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(listening(port) for port in ports)


@pytest.fixture
def spaced() -> Iterator[Path]:
    """A folder for temporary files with a space in its path, open to the user that Postgres runs as.

    Not pytest's own: servers make Unix sockets in it, whose paths may have 107 bytes.
    """
    with tempfile.TemporaryDirectory() as made:
        place = Path(made) / "a b"
        place.mkdir()
        for folder in (Path(made), place):
            folder.chmod(0o755)
        yield place


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_signals_leave_nothing_behind(spaced: Path, number: signal.Signals, code: int) -> None:
    with owner(spaced) as (process, ports):
        assert len(ports) == 3
        assert all(listening(port) for port in ports)
        process.send_signal(number)
        assert process.wait(30) == code
        assert gone(ports)
        assert list(spaced.iterdir()) == []


def test_kill_9_of_the_owner_ends_the_servers(spaced: Path) -> None:
    with owner(spaced) as (process, ports):
        process.kill()
        process.wait()
        assert gone(ports)


def test_what_a_killed_owner_left_is_removed_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "pixassay-left"
    left.mkdir()
    (left / ".lock").touch()
    os.utime(left / ".lock", (0, 0))
    with temporary_folder("held") as held:
        os.utime(held / ".lock", (0, 0))
        remove_abandoned()
        assert list(tmp_path.iterdir()) == [held]


def test_kept_ports_can_be_listened_on_but_not_taken() -> None:
    ports = Ports(2)
    [one, two] = ports.numbers
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((LOOPBACK, one))
    with socket.create_server((LOOPBACK, two)):
        assert listening(two)
    ports.close()
    with socket.socket() as later:
        later.bind((LOOPBACK, one))


def test_a_server_that_fails_says_its_last_words(tmp_path: Path) -> None:
    child = Child("Broken", ["/bin/sh", "-c", "echo no such luck; exit 7"], tmp_path)
    child.start()
    with pytest.raises(ConfigError, match=r"Broken ended too early \(exit 7\): no such luck"):
        child.wait_until(lambda: False)


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    child = Child("Silent", ["/bin/sleep", "60"], tmp_path)
    child.start()
    with pytest.raises(ConfigError, match=r"Silent did not answer in 0\.1 s"):
        child.wait_until(lambda: False, timeout_s=0.1)
    child.stop()


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    child = Child("Stubborn", ["/bin/sh", "-c", script], tmp_path, grace_s=0.2)
    child.start()
    child.wait_until(lambda: "up" in child.log.read_text())
    pid = child.pid
    child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
