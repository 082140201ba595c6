"""A short corpus through the whole service: each file has its outcome, each crash costs one process."""

from pathlib import Path

import pytest

from models.bundle import Bundle
from stream.decode_pool import limits_of
from stream.embedded import Postgres, SeaweedFS, Tansu
from stream.settings import Settings
from tests.harness.scene import worker_settings
from tests.harness.seen import Database
from tests.hostile.campaign import Result, run
from tests.hostile.corpus import FAULTS, corpus

FILES = 150


@pytest.fixture
def settings(
    tansu: Tansu, seaweedfs: SeaweedFS, database_url: str, unique: str, tiny_bundle: Bundle, tmp_path: Path
) -> Settings:
    topics = {f"topic_{kind}": f"{unique}.{kind}" for kind in ("uploads", "review", "labels", "dead")}
    return worker_settings(
        tmp_path,
        {**tansu.variables(), **seaweedfs.variables(), "PIXASSAY_DATABASE_URL": database_url},
        **topics,
        group=unique,
        bundle=tiny_bundle.path,
        s3_buckets=unique,
        max_pixels=2_000_000,
        max_frames=50,
        decode_timeout_s=3.0,
        decode_memory_mb=512,
    )


@pytest.fixture
def result(
    settings: Settings, seaweedfs: SeaweedFS, postgres: Postgres, unique: str, tmp_path: Path
) -> Result:
    files = corpus(FILES, seed=2, limits=limits_of(settings))
    return run(files, settings, seaweedfs.bucket(unique), Database(postgres, unique), tmp_path)


def test_every_hostile_file_has_its_outcome_and_a_crash_costs_one_process(result: Result) -> None:
    assert result.unexpected == []
    assert (result.files, result.outcomes, result.gaps, result.worker_restarts) == (FILES, FILES, 0, 0)
    assert result.crashes >= len(FAULTS)  # one of each is in every corpus
    assert 0 < result.decoders_lost <= result.crashes
    assert 0 < result.worker_peak_mb <= result.worker_limit_mb
    assert 0 < result.decoder_peak_mb <= result.decoder_limit_mb
    assert result.by_reason["judged"] > 0
    assert result.ok
