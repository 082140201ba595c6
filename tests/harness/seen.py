"""What a run left behind, as programs see it that we did not write: psql and confluent-kafka."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from stream.embedded import Postgres

Key = tuple[str, str]  # tenant, upload_id


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a server, asked through psql."""

    server: Postgres
    name: str

    def ask(self, sql: str) -> str:
        """What psql prints, unaligned and without headers."""
        return self.server.query(sql, self.name)

    def rows(self) -> int:
        """Rows of `verdicts`."""
        return int(self.ask("select count(*) from verdicts"))

    def letters(self) -> int:
        """Rows of `dead_letters`."""
        return int(self.ask("select count(*) from dead_letters"))

    def uploads(self) -> Counter[Key]:
        """How many rows each upload has."""
        printed = self.ask("select json_build_array(tenant, upload_id) from verdicts")
        return Counter((tenant, upload_id) for tenant, upload_id in map(orjson.loads, printed.splitlines()))

    def flagged(self) -> set[str]:
        """The verdict_ids of flagged rows."""
        wanted = "select verdict_id from verdicts where verdict in ('suspicious', 'synthetic')"
        return set(self.ask(wanted).split())


def read_topic(bootstrap: str, topic: str, timeout_s: float = 60) -> list[dict[str, Any]]:
    """Every record of a topic, JSON parsed, as confluent-kafka reads it to the end of each partition."""
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "pixassay-tests-reader",  # asked for by the client, never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        partitions = reader.list_topics(topic, timeout=timeout_s).topics[topic].partitions
        reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        return _to_the_ends(reader.poll, set(partitions), timeout_s)
    finally:
        reader.close()


def _to_the_ends(poll: Callable[[float], Any], unread: set[int], timeout_s: float) -> list[dict[str, Any]]:
    found = []
    while unread:
        message = poll(timeout_s)
        if message is None:
            raise TimeoutError(f"partitions {sorted(unread)} were not read to their ends")
        if message.error() is None:
            found.append(orjson.loads(message.value()))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            unread.discard(message.partition())
        else:
            raise OSError(f"the broker answered {message.error()}")
    return found
