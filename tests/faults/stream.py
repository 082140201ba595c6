"""Uploads that stream in through every outage of the broker, a little faster than they can be judged."""

import asyncio
from collections.abc import Callable

import psycopg
from confluent_kafka import KafkaError, Message, Producer

from tests.harness.traffic import Sender, Traffic

BATCH = 25
BACKLOG = 400  # uploads without a row, at most: so many that every worker is full whenever it is killed
PAUSE_S = 0.2
FLUSH_S = 120.0


class Stream:
    """A platform's producer: it tries again for as long as it takes, so that some records come twice."""

    def __init__(self, bootstrap: str, topic: str, sender: Sender, rows: Callable[[], int]) -> None:
        """`rows` says how many uploads have their row; it raises psycopg.Error while Postgres is away."""
        self._topic, self._sender, self._rows = topic, sender, rows
        self._refused: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "message.timeout.ms": 0,  # never give up
                "socket.timeout.ms": 5000,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )
        self.sent = Traffic()

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until `stopping` is set and the broker has it all. Raises OSError where it refuses one."""
        while not stopping.is_set():
            if await self._outstanding() < BACKLOG:
                self._send(self._sender.traffic(BATCH, repeated=0.1, bad=0.04))
            await asyncio.sleep(PAUSE_S)
        left = await asyncio.to_thread(self._producer.flush, FLUSH_S)
        if left or self._refused:
            raise OSError(f"{left} records were not taken by the broker, and it refused {self._refused[:3]}")

    async def _outstanding(self) -> int:
        try:
            return len(self.sent.uploads) - await asyncio.to_thread(self._rows)
        except psycopg.Error:
            return BACKLOG

    def _send(self, batch: Traffic) -> None:
        for key, value in batch.records:
            self._producer.produce(self._topic, key=key, value=value, on_delivery=self._delivered)
        self._producer.poll(0)
        self.sent.add(batch)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused.append(str(error))
