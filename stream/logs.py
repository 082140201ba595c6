"""The format of log lines: for people, or one JSON object a line with the ids of what it is about."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from stream.events import Upload, verdict_id
from stream.types import DeadLetter, Origin, Outcome

log = logging.getLogger("pixassay")


class JsonLines(logging.Formatter):
    """One JSON object a log line, for log collectors. What is in `extra={"ids": {...}}` stands beside."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "ids", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode()


def ids_of(origin: Origin, upload: Upload | None, bundle: str, **more: object) -> dict[str, Any]:
    """`extra` of a log line about one upload: by these it is found in Kafka and in Postgres."""
    ids: dict[str, Any] = {"topic": origin.topic, "partition": origin.partition, "offset": origin.offset}
    if upload is not None:
        ids |= {"tenant": upload.tenant, "upload_id": upload.upload_id}
        ids["verdict_id"] = verdict_id(upload.tenant, upload.upload_id, bundle)
    return {"ids": {**ids, **more}}


def log_verdict(outcome: Outcome) -> None:
    """One line on a stored verdict."""
    judgement, upload = outcome.judgement, outcome.job.upload
    more = {"verdict": judgement.verdict, "score": judgement.score, "latency_ms": outcome.latency_ms}
    ids = ids_of(outcome.job.origin, upload, outcome.bundle, **more)
    log.info("%s/%s: %s", upload.tenant, upload.upload_id, judgement.verdict, extra=ids)


def log_letter(letter: DeadLetter, bundle: str) -> None:
    """One line on a stored dead letter."""
    origin, more = letter.origin, {"reason": letter.reason, "index": letter.index}
    where = f"{origin.topic}/{origin.partition}/{origin.offset}"
    ids = ids_of(origin, letter.upload, bundle, **more)
    log.info("dead letter of %s: %s, %s", where, letter.reason, letter.detail, extra=ids)


def set_up_logging(as_json: bool) -> None:
    """Log to stderr. Kafka clients repeat themselves in an outage; we say it once, so they are mute."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)
    for client in ("aiokafka", "faust", "mode"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
