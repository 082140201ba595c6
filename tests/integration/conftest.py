"""What tests of commands share: topics of their own, a schema of their own, and the store over it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from stream.embedded import Tansu
from stream.settings import Settings, load_settings
from stream.store import Store
from tests.outcomes import BUNDLE, POLICY


@pytest.fixture
def settings(tansu: Tansu, database_url: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    variables = {**tansu.variables(), "PIXASSAY_DATABASE_URL": database_url, "PIXASSAY_GROUP": unique}
    variables |= {
        f"PIXASSAY_TOPIC_{kind}": f"{unique}.{kind}" for kind in ("UPLOADS", "REVIEW", "LABELS", "DEAD")
    }
    for name, value in {**variables, "PIXASSAY_TOPIC_PARTITIONS": "1", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as opened:
        opened.open(BUNDLE, POLICY)
        yield opened
