"""Apache Kafka for the tests: one KRaft node as deploy/kafka/start runs it, on free loopback ports."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stream.embedded.broker import answers_kafka
from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child
from stream.embedded.server import Server

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "kafka"
START = FOLDER / "start"


class ApacheKafka(Server):
    """A broker whose topics, records and offsets survive `restart` and `kill`."""

    name = "ApacheKafka"
    port_count = 2

    def __init__(self, advertised_port: int | None = None) -> None:
        """`advertised_port` is where clients are sent, if not to the broker itself: to a proxy before it."""
        super().__init__()
        self._advertised_port = advertised_port

    @property
    def bootstrap(self) -> str:
        """host:port, the same after a restart."""
        return f"{LOOPBACK}:{self.ports[0]}"

    @property
    def version(self) -> str:
        found = re.search(r"<kafka.version>(.+)</kafka.version>", (FOLDER / "pom.xml").read_text())
        assert found
        return f"Apache Kafka {found[1]} (org.apache.kafka:kafka_2.13 from Maven)"

    def variables(self) -> dict[str, str]:
        return {"PIXASSAY_KAFKA_BOOTSTRAP": self.bootstrap}

    def make_child(self, folder: Path) -> Child:
        advertised = self._advertised_port or self.ports[0]
        listen = ("--port", str(self.ports[0]), "--controller-port", str(self.ports[1]))
        command = (START, *listen, "--advertised-port", str(advertised), "--dir", folder / "node")
        return Child(self.name, command, folder, environment=dict(os.environ), grace_s=30)

    def answers(self) -> bool:
        return answers_kafka(LOOPBACK, self.ports[0])

    def wait(self) -> None:
        """Three JVMs one after the other (storage id, format, node): minutes, on a machine that is busy."""
        self.child.wait_until(self.answers, timeout_s=180)


def require_java() -> None:
    """Skip, with the reason, where Apache Kafka cannot run; in CI it must."""
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"Apache Kafka needs Java 17 and Maven; missing here: {', '.join(missing)}")
    assert not missing, f"CI=true requires Apache Kafka; missing: {', '.join(missing)}"
    subprocess.run([START, "--jars-only"], check=True)
