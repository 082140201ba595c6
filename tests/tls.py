"""Certificates made for a test, and the servers of the tests behind TLS."""

import asyncio
import contextlib
import ssl
import struct
import subprocess
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.embedded import Postgres, SeaweedFS
from stream.embedded.broker import answers_kafka
from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child
from tests.kafka_server import ApacheKafka

USER = "pixassay-worker"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: an authority, one that vouches for nobody here, a server's certificate and its key."""

    authority: Path
    stranger: Path
    certificate: Path
    key: Path

    @property
    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def certificates(folder: Path) -> Certificates:
    """For 127.0.0.1, with a life of two days."""
    for name in ("authority", "stranger"):
        _request(folder, name, "-subj", f"/CN={name}")
    signer = ("-CA", folder / "authority.pem", "-CAkey", folder / "authority.key")
    _request(folder, "server", "-subj", "/CN=server", *signer, "-addext", f"subjectAltName=IP:{LOOPBACK}")
    return Certificates(
        *(folder / name for name in ("authority.pem", "stranger.pem", "server.pem", "server.key"))
    )


def _request(folder: Path, name: str, *more: str | Path) -> None:
    """A certificate and its key, signed by itself unless `more` names a signer."""
    made = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    subprocess.run(["openssl", "req", "-x509", *kind, *made, *more], check=True, capture_output=True)


class SecureKafka(ApacheKafka):
    """Apache Kafka that asks clients for SASL_SSL with SCRAM-SHA-512; loopback without either for itself."""

    port_count = 3

    def __init__(self, made: Certificates, password: str) -> None:
        super().__init__()
        self._made, self._password = made, password

    def variables(self) -> dict[str, str]:
        return {
            **super().variables(),
            "PIXASSAY_KAFKA_SECURITY": "SASL_SSL",
            "PIXASSAY_KAFKA_CA_FILE": str(self._made.authority),
            "PIXASSAY_KAFKA_USERNAME": USER,
            "PIXASSAY_KAFKA_PASSWORD": self._password,
        }

    def make_child(self, folder: Path) -> Child:
        client, controller, own = (f"{LOOPBACK}:{port}" for port in self.ports)
        store = folder / "server-with-key.pem"
        store.write_bytes(self._made.key.read_bytes() + self._made.certificate.read_bytes())
        lines = {
            "listeners": f"SASL_SSL://{client},CONTROLLER://{controller},INTERNAL://{own}",
            "advertised.listeners": f"SASL_SSL://{client},INTERNAL://{own}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT",
            "inter.broker.listener.name": "INTERNAL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }
        config = folder / "added.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        child = super().make_child(folder)
        child.command = [*child.command, "--config", config, "--scram", f"{USER}={self._password}"]
        return child

    def answers(self) -> bool:
        return answers_kafka(LOOPBACK, self.ports[2])


class SecureSeaweedFS(SeaweedFS):
    """SeaweedFS that serves S3 over https besides."""

    port_count = SeaweedFS.port_count + 1

    def __init__(self, made: Certificates, secret_key: str) -> None:
        super().__init__()
        self._made, self.secret_key = made, secret_key

    def variables(self) -> dict[str, str]:
        return {
            **super().variables(),
            "PIXASSAY_S3_ENDPOINT": f"https://{LOOPBACK}:{self.ports[-1]}",
            "PIXASSAY_S3_CA_FILE": str(self._made.authority),
        }

    def make_child(self, folder: Path) -> Child:
        port, self.ports = self.ports[-1], self.ports[:-1]
        child = super().make_child(folder)
        self.ports.append(port)
        files = (f"-s3.cert.file={self._made.certificate}", f"-s3.key.file={self._made.key}")
        child.command = [*child.command, f"-s3.port.https={port}", *files]
        return child


class PostgresTls:
    """TLS before a Postgres that was built without: answers the client's SSLRequest, then passes bytes on.

    (Postgres manual, "Frontend/Backend Protocol", SSL Session Encryption.) On a loop of its own.
    """

    def __init__(self, made: Certificates, postgres: Postgres) -> None:
        self._context, self._postgres = made.server_context, postgres
        self.encrypted = 0  # connections that went through TLS
        self.port = 0

    def __enter__(self) -> "PostgresTls":
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        server = self._run(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, action: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(30)

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. One that sends no SSLRequest, or breaks off, is closed."""
        with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
            if await reader.readexactly(8) != _SSL_REQUEST:
                return
            writer.write(b"S")
            await writer.start_tls(self._context)
            self.encrypted += 1
            inward, outward = await asyncio.open_connection(LOOPBACK, self._postgres.ports[0])
            with contextlib.closing(outward):
                ways = [
                    asyncio.create_task(_pass_on(reader, outward)),
                    asyncio.create_task(_pass_on(inward, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)


_SSL_REQUEST = struct.pack(">ii", 8, 80877103)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
