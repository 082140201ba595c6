"""Wire records: what comes in on Kafka and what goes out. JSON, UTF-8, one schema name each.

Two kinds of record are accepted on the upload topic: our own upload events, and S3 event
notifications exactly as S3 and compatible stores publish them.
"""

import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_plus

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from stream.errors import BadRecord
from stream.reasons import Reason

UPLOAD_SCHEMA: Final = "pixassay.upload/1"
REVIEW_SCHEMA: Final = "pixassay.review/1"
LABEL_SCHEMA: Final = "pixassay.label/1"
DEAD_SCHEMA: Final = "pixassay.dead/1"

# Namespace of every verdict_id. Fixed for ever: replays must reproduce the ids.
_NAMESPACE = uuid.UUID("6f0d6a0e-6d0b-5c5e-9d0e-3a5f5f0f2b11")

# 256: two of them at four bytes a character still fit a Postgres index row (2,704 bytes).
# What form encoders leave of a key: unreserved characters, "/" and escapes.
_FORM_ENCODED = re.compile(r"(?:[A-Za-z0-9._~*+/()!'-]|%[0-9A-Fa-f]{2})*")

Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


# Between these, every zone's time survives Postgres and back. Before 1970 a clock is wrong.
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
Moment = Annotated[AwareDatetime, Field(ge=_FIRST, lt=_LAST)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def to_bytes(self) -> bytes:
        """The record as it goes on the wire: UTF-8 JSON with the schema name first."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True))


class Upload(_Record):
    """One picture was uploaded to the platform."""

    schema_: Literal["pixassay.upload/1"] = Field(default=UPLOAD_SCHEMA, alias="schema")
    upload_id: Identifier
    tenant: Identifier = "default"
    uploader_id: Identifier | None = None
    uri: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
    uploaded_at: Moment
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    content_type: Annotated[str, Field(max_length=255)] | None = None


class Review(_Record):
    """A picture is suspected to be synthetic and waits for a person. Key: tenant/upload_id."""

    schema_: Literal["pixassay.review/1"] = Field(default=REVIEW_SCHEMA, alias="schema")
    verdict_id: str
    tenant: str
    upload_id: str
    uri: str
    verdict: Literal["suspicious", "synthetic"]
    score: float
    logits: dict[str, float | None]
    reasons: list[str]
    bundle: str
    policy: str
    uploaded_at: Moment
    decided_at: Moment

    @property
    def key(self) -> bytes:
        return upload_key(self.tenant, self.upload_id)


class Label(_Record):
    """What a reviewer decided about one verdict."""

    schema_: Literal["pixassay.label/1"] = Field(default=LABEL_SCHEMA, alias="schema")
    verdict_id: uuid.UUID
    tenant: Identifier
    upload_id: Identifier
    decision: Literal["synthetic", "authentic", "unsure"]
    reviewer: Identifier
    decided_at: Moment
    note: Annotated[str, Field(max_length=4000)] | None = None


class Dead(_Record):
    """A record that got no verdict: reason, where it stood, and its value (base64 where not UTF-8)."""

    schema_: Literal["pixassay.dead/1"] = Field(default=DEAD_SCHEMA, alias="schema")
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    attempts: int
    value: str
    value_encoding: Literal["utf-8", "base64"]


def upload_key(tenant: str, upload_id: str) -> bytes:
    """The Kafka key of all that we publish on one upload."""
    return f"{tenant}/{upload_id}".encode()


def place_key(topic: str, partition: int, offset: int) -> bytes:
    """The Kafka key of a dead letter whose record tells no upload."""
    return f"{topic}/{partition}/{offset}".encode()


def verdict_id(tenant: str, upload_id: str, bundle: str) -> str:
    """The stable id of a verdict: UUIDv5 of tenant, upload_id and bundle id."""
    return str(uuid.uuid5(_NAMESPACE, orjson.dumps([tenant, upload_id, bundle]).decode()))


def parse_record(raw: bytes | None) -> list[Upload | BadRecord]:
    """The uploads that one Kafka record announces; an unreadable part is a BadRecord in its place.

    An S3 notification may carry several objects, or none that was created (a deletion, the
    test event that S3 sends when notifications are switched on): then the list is empty.
    """
    try:
        body = orjson.loads(raw or b"")
    except orjson.JSONDecodeError as error:
        return [BadRecord(Reason.BAD_JSON, f"not UTF-8 JSON: {error}")]
    if not isinstance(body, dict):
        return [BadRecord(Reason.UNKNOWN_SCHEMA, f"a JSON object was expected, not {type(body).__name__}")]
    if body.get("schema") == UPLOAD_SCHEMA:
        return [_upload(body)]
    if isinstance(body.get("Records"), list):
        return list(_from_s3(body["Records"]))
    if body.get("Event") == "s3:TestEvent":
        return []
    shown = str(body.get("schema", "none"))[:80]
    wanted = f"{UPLOAD_SCHEMA} or an S3 event notification"
    return [BadRecord(Reason.UNKNOWN_SCHEMA, f"schema is {shown!r}; {wanted} was expected")]


def own_part(raw: bytes, index: int) -> bytes:
    """The record cut down to the one of its parts that `parse_record` gives under this index.

    Only an S3 notification of several objects has more than one; of it, that object alone is left, as a
    notification of its own. What is kept of one upload then tells nothing of the others. A record that is
    nested too deep to be written again is left whole.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw
    records = body.get("Records") if isinstance(body, dict) else None
    if not isinstance(records, list) or len(records) < 2 or body.get("schema") == UPLOAD_SCHEMA:
        return raw
    parts = [record for record in records if list(_from_s3([record]))]
    try:
        return orjson.dumps({"Records": [parts[index]]})
    except TypeError:  # orjson reads 1024 levels and writes 254
        return raw


def speaks_of(raw: bytes, tenant: str, name: str) -> bool:
    """Whether a record that cannot be read holds both words, the tenant and an id, as values.

    Where no tenant is stated, the default is meant. What is no JSON is searched for them in quotes.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        quoted = (orjson.dumps(name), orjson.dumps(tenant))
        return all(word in raw for word in quoted) or (_leaves_out_tenant(raw, tenant) and quoted[0] in raw)
    said, waiting = set[str](), [body]
    while waiting:  # by hand: what came in may be nested deeper than Python calls
        match waiting.pop():
            case str(word):
                said.add(word)
            case list(inner):
                waiting += inner
            case dict(fields):
                waiting += fields.values()
    return name in said and (tenant in said or _leaves_out_tenant(raw, tenant))


def _leaves_out_tenant(raw: bytes, tenant: str) -> bool:
    return tenant == Upload.model_fields["tenant"].default and b'"tenant"' not in raw


def parse_label(raw: bytes | None) -> Label:
    """A reviewer's decision. Raises BadRecord where it is not one."""
    try:
        body = orjson.loads(raw or b"")
    except orjson.JSONDecodeError as error:
        raise BadRecord(Reason.BAD_JSON, f"not UTF-8 JSON: {error}") from error
    if not isinstance(body, dict) or body.get("schema") != LABEL_SCHEMA:
        raise BadRecord(Reason.UNKNOWN_SCHEMA, f"{LABEL_SCHEMA} was expected")
    try:
        return Label.model_validate(body)
    except ValidationError as error:
        raise BadRecord(Reason.INVALID_FIELD, _first_fault(error)) from error


def _upload(fields: dict[str, Any]) -> Upload | BadRecord:
    try:
        return Upload.model_validate(fields)
    except ValidationError as error:
        return BadRecord(Reason.INVALID_FIELD, _first_fault(error))


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'record'}: {first['msg']}"


def _from_s3(records: Iterable[Any]) -> Iterable[Upload | BadRecord]:
    """S3 notification records, as documented in the Amazon S3 user guide, event message structure."""
    for record in records:
        try:
            # MinIO writes the prefix "s3:" into the records too; S3 leaves it out.
            event = str(record["eventName"]).removeprefix("s3:")
            if not event.startswith("ObjectCreated:"):
                continue
            bucket, item = str(record["s3"]["bucket"]["name"]), record["s3"]["object"]
            key = object_key(str(item["key"]))
            version = item.get("versionId") or item.get("eTag") or item.get("sequencer") or ""
            when = record["eventTime"]
        except (KeyError, TypeError, AttributeError) as error:
            yield BadRecord(Reason.INVALID_FIELD, f"S3 record without {error}")
            continue
        user = record.get("userIdentity")
        yield _upload(
            {
                "upload_id": s3_upload_id(bucket, key, str(version)),
                "tenant": bucket,
                "uploader_id": user.get("principalId") if isinstance(user, dict) else None,
                "uri": f"s3://{bucket}/{key}",
                "uploaded_at": when,
            }
        )


def object_key(noted: str) -> str:
    """The key of an S3 object from the key in its notification.

    S3, MinIO and Ceph form-encode it (a blank is "+"); VersityGW writes it as it is. A key with a
    character that no encoding leaves, a blank or a "?", is therefore taken as it is. "a+b" cannot be
    told apart, and is read as S3 means it.
    """
    return unquote_plus(noted) if _FORM_ENCODED.fullmatch(noted) else noted


def s3_upload_id(bucket: str, key: str, version: str) -> str:
    """The upload id of an S3 object: the same for every notification of the same version."""
    return str(uuid.uuid5(_NAMESPACE, orjson.dumps(["s3", bucket, key, version.strip('"')]).decode()))
