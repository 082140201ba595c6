"""VersityGW: an S3 server that we did not write and that publishes S3 event notifications to Kafka.

Apache-2.0, written in Go. Built once a machine from its released source, into the user's cache folder.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child, own_environment
from stream.embedded.server import Server
from stream.embedded.store import s3_client

VERSION = "v1.8.0"
_MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
_ACCESS_KEY = "pixassay-test"


class VersityGw(Server):
    """An S3 server on loopback over a folder; every change of an object becomes a record of `topic`."""

    name = "VersityGW"
    port_count = 1

    def __init__(self, binary: Path, kafka: str, topic: str) -> None:
        super().__init__()
        self._binary, self._kafka, self._topic = binary, kafka, topic
        self.secret_key = secrets.token_hex(16)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.ports[0]}"

    @property
    def version(self) -> str:
        return f"VersityGW {VERSION} (S3 notifications to Kafka)"

    def variables(self) -> dict[str, str]:
        return {
            "PIXASSAY_S3_ENDPOINT": self.endpoint,
            "PIXASSAY_S3_ACCESS_KEY": _ACCESS_KEY,
            "PIXASSAY_S3_SECRET_KEY": self.secret_key,
        }

    def client(self) -> Any:
        """A boto3 S3 client."""
        return s3_client(self.endpoint, _ACCESS_KEY, self.secret_key)

    def make_child(self, folder: Path) -> Child:
        objects, beside = folder / "objects", folder / "beside"
        objects.mkdir()
        beside.mkdir()  # metadata in files: not every file system of a temporary folder has attributes
        command: list[str | Path] = [self._binary, "--port", f"{LOOPBACK}:{self.ports[0]}", "--quiet"]
        command += ["--event-kafka-url", self._kafka, "--event-kafka-topic", self._topic]
        command += ["posix", "--sidecar", beside, objects]
        keys = {"ROOT_ACCESS_KEY": _ACCESS_KEY, "ROOT_SECRET_KEY": self.secret_key}
        return Child(self.name, command, folder, {**own_environment(folder), **keys})

    def answers(self) -> bool:
        try:
            s3_client(self.endpoint, _ACCESS_KEY, self.secret_key, attempts=1, timeout_s=1).list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True


def require_versitygw() -> Path:
    """The binary, built where it is missing. Skips where there is no Go; in CI there must be."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixassay" / f"versitygw-{VERSION}"
    )
    binary = cache / "versitygw"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        assert os.environ.get("CI") != "true", "CI=true requires Go, to build VersityGW"
        pytest.skip("VersityGW is built with Go, which is missing here")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:  # another test run may build it at the same time
        built = subprocess.run(
            ["go", "install", _MODULE],
            check=False,
            env={**os.environ, "GOBIN": folder},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, f"go install {_MODULE}: {built.stderr[-2000:]}"
        Path(folder, "versitygw").rename(binary)
    return binary
