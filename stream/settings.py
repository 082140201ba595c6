"""Settings: read once from PIXASSAY_* variables or a .env file, checked, then passed down as values.

The only module that looks at the environment. docs/settings.md is generated from it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stream.errors import ConfigError

BUNDLED = Path(__file__).resolve().parent.parent / "models" / "bundled" / "default"
PREFIX = "PIXASSAY_"
DEFAULT_MONITOR = "127.0.0.1:9464"

# Lists are written comma-separated in the environment.
Words = Annotated[tuple[str, ...], NoDecode]
Folders = Annotated[tuple[Path, ...], NoDecode]


class Settings(BaseSettings):
    """Everything that can be set; each field is the variable PIXASSAY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", frozen=True, extra="ignore")

    # Kafka
    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Brokers, host:port, comma-separated.")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Security protocol of the brokers."
    )
    kafka_ca_file: FilePath | None = Field(
        None, description="CA certificate (PEM) for SSL and SASL_SSL; empty means the system's."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism for SASL_PLAINTEXT and SASL_SSL."
    )
    kafka_username: str | None = Field(None, description="SASL user.")
    kafka_password: SecretStr | None = Field(None, description="SASL password.")
    group: str = Field("pixassay", min_length=1, description="Consumer group of the image lane.")
    topic_uploads: str = Field("image.uploads", description="Topic of upload events and S3 notifications.")
    topic_review: str = Field("image.review", description="Topic of suspected synthetic images.")
    topic_labels: str = Field("image.labels", description="Topic of reviewers' decisions.")
    topic_dead: str = Field("image.uploads.dead", description="Topic of dead letters.")
    topic_partitions: int = Field(
        12, ge=1, le=1000, description="Partitions of a topic that is created here."
    )
    topic_replication: int = Field(1, ge=1, le=9, description="Replicas of a topic that is created here.")
    session_timeout_s: float = Field(45.0, ge=1, le=600, description="Group session time-out, seconds.")
    rebalance_drain_s: float = Field(
        30.0,
        ge=0,
        le=300,
        description="Longest wait for images in flight on a revoke, seconds.",
    )
    commit_interval_s: float = Field(1.0, gt=0, le=60, description="Seconds between offset commits.")

    # Postgres
    database_url: SecretStr = Field(
        SecretStr("postgresql://127.0.0.1:5432/pixassay"), description="Postgres, as libpq URI."
    )

    # Object store
    s3_endpoint: str | None = Field(None, description="URL of an S3-compatible server; empty means AWS.")
    s3_region: str = Field("us-east-1", description="Region used for signing.")
    s3_access_key: str | None = Field(None, description="Access key; empty means the AWS default chain.")
    s3_secret_key: SecretStr | None = Field(None, description="Secret key.")
    s3_ca_file: FilePath | None = Field(
        None, description="CA certificate (PEM) of an https:// endpoint; empty means the well-known ones."
    )
    s3_buckets: Words = Field((), description="Buckets that may be read, comma-separated; empty means all.")
    s3_timeout_s: float = Field(20.0, gt=0, description="Connect and read time-out, seconds.")
    store_patience_s: float = Field(
        600.0,
        ge=0,
        description="Wait for a bucket that fails while others answer, then its uploads are dead letters, s.",
    )
    max_aside: int = Field(
        5000,
        ge=0,
        le=100_000,
        description="Uploads that may wait aside for a bucket that does not answer; 4 KiB of record each.",
    )
    file_roots: Folders = Field((), description="Folders below which file:// may be read; empty means none.")

    # Limits on one picture
    max_bytes: int = Field(32 * 2**20, gt=0, description="Largest file, bytes.")
    max_pixels: int = Field(64_000_000, gt=0, description="Largest picture, width x height.")
    max_frames: int = Field(2_000, gt=0, description="Most frames that an animation may have.")
    sample_frames: int = Field(4, ge=1, le=32, description="Frames of an animation that are scored.")
    decode_timeout_s: float = Field(20.0, gt=0, description="Longest decoding of one picture, seconds.")
    decode_memory_mb: int = Field(
        2048,
        ge=256,
        description="Memory that one decoding process may use, MiB; a picture needs up to 32 bytes a pixel.",
    )

    # Engine and lane
    bundle: Path = Field(BUNDLED, description="Folder of the detectors' bundle.")
    policy: Path | None = Field(
        None, description="JSON file of thresholds, with those of single tenants; empty means the bundle's."
    )
    engine: Literal["auto", "openvino", "onnxruntime", "tensorrt"] = Field(
        "auto", description="What runs it; onnxruntime computes in float32 on every CPU."
    )
    engines: Path = Field(
        Path("~/.cache/pixassay/engines"),
        description="Folder of the TensorRT engines that were built, and of what was measured for CPUs.",
    )
    threads: int = Field(
        0,
        ge=0,
        description="Engine threads on a CPU, one batch at a time; 0: what a short measurement finds best.",
    )
    max_batch: int = Field(32, ge=1, le=256, description="Largest batch given to the engine.")
    max_wait_ms: int = Field(20, ge=0, le=10_000, description="Longest wait for a fuller batch, ms.")
    fetchers: int = Field(16, ge=1, le=256, description="Pictures fetched at the same time.")
    decoders: int = Field(0, ge=0, le=256, description="Decoding processes; 0 means one a core.")
    max_held_mb: int = Field(1024, ge=64, description="Bytes of pictures held at the same time, MiB.")
    queue_size: int = Field(64, ge=1, le=10_000, description="Uploads that may wait between two steps.")

    # What it tells about itself
    monitor_address: str = Field(
        DEFAULT_MONITOR,
        description="host:port of /healthz, /readyz and /metrics; empty means none. The default is given up, "
        "with a warning, where it is taken.",
    )
    metric_tenants: int = Field(
        0, ge=0, le=1000, description="Tenants whose verdicts are counted apart in /metrics; 0 means none."
    )
    json_logs: bool = Field(
        False, description="Log one JSON object a line, with the ids of what it is about."
    )
    otlp_endpoint: str | None = Field(
        None, description="URL that traces are sent to by OTLP over HTTP (extra `otel`); empty means none."
    )
    trace_share: float = Field(1.0, ge=0, le=1, description="Share of the uploads that are traced.")
    log_outcomes: bool = Field(False, description="Log every outcome, one line each.")

    @field_validator("s3_buckets", "file_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator(
        *(
            "s3_endpoint",
            "s3_access_key",
            "s3_secret_key",
            "s3_ca_file",
            "kafka_ca_file",
            "policy",
            "otlp_endpoint",
        ),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment, with overrides on top.

    Raises ConfigError naming every wrong variable and what is wrong with it.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = (f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
        raise ConfigError("; ".join(faults)) from error


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Our environment with `variables` on top, for a program of ours that is started as a process."""
    return {**os.environ, **variables}
