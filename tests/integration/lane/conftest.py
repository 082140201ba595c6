"""The brokers that every test of the lane runs on: Tansu and Apache Kafka."""

import pytest

from stream.embedded import Tansu
from stream.kafka import ensure_topics
from stream.settings import Settings, load_settings
from tests.kafka_server import ApacheKafka

BROKERS = ["tansu", pytest.param("apache", marks=pytest.mark.kafka)]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Tansu | ApacheKafka:
    """Both brokers, one after the other."""
    name = "tansu" if request.param == "tansu" else "apache_kafka"
    found: Tansu | ApacheKafka = request.getfixturevalue(name)
    return found


def settings_for(bootstrap: str, name: str, **changes: object) -> Settings:
    """Topics and a group of this name, two partitions, and times that suit a test."""
    fields: dict[str, object] = {
        "kafka_bootstrap": bootstrap,
        "group": name,
        "topic_uploads": f"{name}.uploads",
        "topic_review": f"{name}.review",
        "topic_labels": f"{name}.labels",
        "topic_dead": f"{name}.dead",
        "topic_partitions": 2,
        "session_timeout_s": 3.0,
        "rebalance_drain_s": 5.0,
        "commit_interval_s": 0.2,
        "max_bytes": 1_000_000,
    }
    return load_settings(**{**fields, **changes})


@pytest.fixture
async def settings(broker: Tansu | ApacheKafka, unique: str) -> Settings:
    """Settings of a worker on one of the brokers, its topics made."""
    chosen = settings_for(broker.bootstrap, unique)
    await ensure_topics(chosen)
    return chosen
