"""Reviewers' labels from Kafka into Postgres: the light, stateful side of the service, as a Faust agent.

Faust acknowledges an event when the loop's body ends, whether it raised or not, so nothing may leave
the body as an exception: a label is stored, or it is a dead letter, or the body waits.
"""

import logging
from collections.abc import Awaitable, Callable

import faust

from stream.errors import BadRecord
from stream.events import Label, parse_label
from stream.reasons import Reason
from stream.settings import Settings
from stream.types import DeadLetter, Origin

log = logging.getLogger("pixassay")


class Labels:
    """What is done with one label record. `store` and `bury` wait outages out."""

    def __init__(
        self,
        store: Callable[[list[Label]], Awaitable[None]],
        bury: Callable[[DeadLetter], Awaitable[None]],
    ) -> None:
        self._store, self._bury = store, bury

    async def take(self, origin: Origin, raw: bytes | None) -> None:
        """Returns when the label is stored or is a durable dead letter. Raises nothing."""
        try:
            await self._store([parse_label(raw)])
        except BadRecord as error:
            await self._bury(DeadLetter(origin, error.reason, error.detail, raw or b""))
        except Exception as error:
            log.warning("label at %s: %r", origin, error, exc_info=error)
            await self._bury(DeadLetter(origin, Reason.INTERNAL_ERROR, repr(error), raw or b""))


def add_label_agent(app: faust.App, labels: Labels, settings: Settings) -> None:
    """Subscribe the app to the label topic."""
    # Raw bytes: a decoder of Faust's would drop what it cannot read.
    topic = app.topic(
        settings.topic_labels,
        key_type=bytes,
        key_serializer="raw",
        value_type=bytes,
        value_serializer="raw",
    )

    async def take_labels(stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            message = event.message
            await labels.take(Origin(message.topic, message.partition, message.offset), message.value)

    app.agent(topic, name="labels")(take_labels)
