"""Flag step: suspected pictures to the review topic, dead letters to theirs; acknowledged on return."""

import base64

from aiokafka import AIOKafkaProducer

from stream.errors import Outage
from stream.events import Dead, Review, place_key, upload_key
from stream.kafka import PART, kafka_outage, producer
from stream.settings import Settings
from stream.types import DeadLetter, Outcome

# Of a dead letter as it is sent. Brokers take records of 1 MiB by default, and what one refuses holds up
# its partition for ever; a value that makes it larger is left out of the topic (the table has it whole).
LARGEST_RECORD = 900_000


def review_of(outcome: Outcome) -> Review:
    """The review message of a flagged outcome."""
    judgement, upload = outcome.judgement, outcome.job.upload
    if judgement.verdict not in ("suspicious", "synthetic") or judgement.score is None:
        raise ValueError(f"a {judgement.verdict} picture is nothing to review")
    return Review(
        verdict_id=outcome.verdict_id,
        tenant=upload.tenant,
        upload_id=upload.upload_id,
        uri=upload.uri,
        verdict=judgement.verdict,
        score=judgement.score,
        logits=dict(judgement.logits),
        reasons=[str(reason) for reason in judgement.reasons],
        bundle=outcome.bundle,
        policy=judgement.policy,
        uploaded_at=upload.uploaded_at,
        decided_at=outcome.decided_at,
    )


def dead_of(letter: DeadLetter) -> Dead:
    """The record of a dead letter, at most LARGEST_RECORD bytes on the wire."""
    whole = _dead(letter, letter.detail, letter.raw)
    # Measured as it is sent: JSON needs up to six bytes for one.
    if len(whole.to_bytes()) <= LARGEST_RECORD:
        return whole
    return _dead(letter, f"{letter.detail} (value of {len(letter.raw)} bytes left out here)", b"")


def _dead(letter: DeadLetter, detail: str, raw: bytes) -> Dead:
    try:
        value, encoding = raw.decode(), "utf-8"
    except UnicodeDecodeError:
        value, encoding = base64.b64encode(raw).decode(), "base64"
    return Dead.model_validate(
        {
            "topic": letter.origin.topic,
            "partition": letter.origin.partition,
            "offset": letter.origin.offset,
            "reason": str(letter.reason),
            "detail": detail,
            "attempts": letter.attempts,
            "value": value,
            "value_encoding": encoding,
        }
    )


class Flagger:
    """Publishes what people must see. Every method raises Outage("kafka", ...) while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. After an Outage it can be called again."""
        sender = producer(self._settings)
        try:
            with kafka_outage():
                await sender.start()
        except Outage:
            await sender.stop()
            raise
        self._producer = sender

    async def stop(self) -> None:
        """Send what is under way, then disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def review(self, outcome: Outcome) -> None:
        """Publish a flagged outcome; returns when all in-sync replicas have it."""
        message = review_of(outcome)
        await self._send(self._settings.topic_review, message.key, message.to_bytes())

    async def dead(self, letter: DeadLetter) -> None:
        """Publish a dead letter, keyed like its upload where it could be read that far."""
        upload, origin = letter.upload, letter.origin
        if upload is None:
            key = place_key(origin.topic, origin.partition, origin.offset)
        else:
            key = upload_key(upload.tenant, upload.upload_id)
        await self._send(self._settings.topic_dead, key, dead_of(letter).to_bytes())

    async def _send(self, topic: str, key: bytes, value: bytes) -> None:
        if self._producer is None:
            raise Outage(PART, "the producer is not connected")
        with kafka_outage():
            await self._producer.send_and_wait(topic, key=key, value=value)
