"""Wire records: what is accepted, what is refused and with which words."""

import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import BadRecord
from stream.events import Upload, object_key, own_part, parse_label, parse_record, speaks_of, verdict_id
from stream.reasons import Reason

UPLOAD = {
    "schema": "pixassay.upload/1",
    "upload_id": "u-1",
    "uri": "s3://photos/a.jpg",
    "uploaded_at": "2026-11-24T10:00:00Z",
}


def s3_record(
    key: str = "in/a+b%26c.jpg", event: str = "ObjectCreated:Put", **item: str
) -> dict[str, object]:
    """One record in the form of the Amazon S3 user guide (event message structure 2.1)."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-11-24T10:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "photos", "arn": "arn:aws:s3:::photos"},
            "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", **item},
        },
    }


def only(raw: object) -> Upload | BadRecord:
    (parsed,) = parse_record(orjson.dumps(raw))
    return parsed


def test_own_event_with_defaults() -> None:
    upload = only(UPLOAD)
    assert isinstance(upload, Upload)
    assert (upload.tenant, upload.uploader_id, upload.sha256) == ("default", None, None)
    assert upload.uploaded_at.utcoffset() is not None


def test_own_event_survives_the_wire() -> None:
    upload = Upload.model_validate({**UPLOAD, "uploader_id": "ada", "sha256": "a" * 64})
    assert parse_record(upload.to_bytes()) == [upload]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"upload_id": ""}, "upload_id"),
        ({"upload_id": None}, "upload_id"),
        ({"upload_id": "a\x00b"}, "upload_id"),
        ({"uploaded_at": "2026-11-24T10:00:00"}, "uploaded_at"),  # no zone: refused, never guessed
        ({"uploaded_at": "yesterday"}, "uploaded_at"),
        ({"uploaded_at": "0001-01-01T00:00:00+14:00"}, "uploaded_at"),  # before Christ in UTC
        (
            {"uploaded_at": "9999-12-31T23:59:59-14:00"},
            "uploaded_at",
        ),  # a year that Python has not
        ({"sha256": "abc"}, "sha256"),
        ({"uri": "x" * 5000}, "uri"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], named: str) -> None:
    fault = only({**UPLOAD, **change})
    assert isinstance(fault, BadRecord)
    assert fault.reason is Reason.INVALID_FIELD
    assert fault.detail.startswith(f"{named}:")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, Reason.BAD_JSON),
        (b"", Reason.BAD_JSON),
        (b"{", Reason.BAD_JSON),
        (b"\xff\xfe", Reason.BAD_JSON),
        (b"[]", Reason.UNKNOWN_SCHEMA),
        (b'"text"', Reason.UNKNOWN_SCHEMA),
        (b"{}", Reason.UNKNOWN_SCHEMA),
        (b'{"schema": "pixassay.upload/2"}', Reason.UNKNOWN_SCHEMA),
    ],
)
def test_what_is_not_an_upload_is_refused(raw: bytes | None, reason: Reason) -> None:
    (fault,) = parse_record(raw)
    assert isinstance(fault, BadRecord)
    assert fault.reason is reason


def test_s3_notification() -> None:
    upload = only({"Records": [s3_record()]})
    assert isinstance(upload, Upload)
    assert upload.uri == "s3://photos/in/a b&c.jpg"
    assert (upload.tenant, upload.uploader_id) == ("photos", "AIDAJDPLRKLG7UEXAMPLE")


def test_s3_upload_id_follows_the_version_then_the_etag() -> None:
    def id_of(**item: str) -> str:
        upload = only({"Records": [s3_record(**item)]})
        assert isinstance(upload, Upload)
        return upload.upload_id

    assert id_of() == id_of()
    assert id_of(versionId="1") != id_of(versionId="2")
    assert id_of(eTag="one") != id_of(eTag="two")
    assert id_of(versionId="1", eTag="one") == id_of(versionId="1", eTag="two")


def test_several_s3_records_keep_their_order_and_a_bad_one_its_place() -> None:
    body = {"Records": [s3_record("a.jpg"), {"eventName": "ObjectCreated:Put"}, s3_record("c.jpg")]}
    first, second, third = parse_record(orjson.dumps(body))
    assert isinstance(first, Upload)
    assert isinstance(second, BadRecord)
    assert isinstance(third, Upload)
    assert second.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    "body",
    [
        {"Records": []},
        {"Records": [s3_record(event="ObjectRemoved:Delete")]},
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"},
    ],
)
def test_notifications_without_a_new_object_announce_nothing(body: object) -> None:
    assert parse_record(orjson.dumps(body)) == []


def test_minio_prefix_is_understood() -> None:
    assert isinstance(only({"Records": [s3_record(event="s3:ObjectCreated:Put")]}), Upload)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_raise(raw: bytes) -> None:
    assert all(isinstance(part, Upload | BadRecord) for part in parse_record(raw))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_no_s3_record_makes_the_parser_raise(part: object) -> None:
    whole = s3_record()
    for body in ([part], [{**whole, "s3": part}], [{**whole, "userIdentity": part, "eventTime": part}]):
        raw = orjson.dumps({"Records": body})
        assert all(isinstance(found, Upload | BadRecord) for found in parse_record(raw))


def test_verdict_id_is_stable_and_tells_its_parts_apart() -> None:
    assert verdict_id("t", "u", "b") == verdict_id("t", "u", "b")
    assert len({verdict_id(*parts) for parts in [("a", "bc", "d"), ("ab", "c", "d"), ("a", "b", "cd")]}) == 3


def test_label_is_read_and_a_wrong_one_refused() -> None:
    body = {
        "schema": "pixassay.label/1",
        "verdict_id": str(uuid.uuid4()),
        "tenant": "default",
        "upload_id": "u-1",
        "decision": "authentic",
        "reviewer": "ada",
        "decided_at": "2026-11-24T10:00:00Z",
    }
    assert parse_label(orjson.dumps(body)).decision == "authentic"
    with pytest.raises(BadRecord, match="decision"):
        parse_label(orjson.dumps({**body, "decision": "maybe"}))
    with pytest.raises(BadRecord, match="unknown_schema"):
        parse_label(b"{}")


@pytest.mark.parametrize(
    ("noted", "key"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("with+blank.jpg", "with blank.jpg"),
        ("a%2Bb%25.jpg", "a+b%.jpg"),
        ("%C3%A4%2Fb.jpg", "ä/b.jpg"),
        ("with blank+plus.jpg", "with blank+plus.jpg"),
        ("100% of it.jpg", "100% of it.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("ä+1.jpg", "ä+1.jpg"),
        ("a=1&b?.jpg", "a=1&b?.jpg"),
    ],
)
def test_keys_are_decoded_where_the_store_encodes_them(noted: str, key: str) -> None:
    assert object_key(noted) == key


def test_a_dead_letter_keeps_its_own_part_of_a_notification() -> None:
    made = [s3_record(key) for key in ("a", "b", "c")]
    records = [made[0], s3_record("gone", "ObjectRemoved:Delete"), *made[1:]]
    raw = orjson.dumps({"Key": "photos/a", "Records": records})
    whole = parse_record(raw)
    assert [parse_record(own_part(raw, index)) for index in range(3)] == [[item] for item in whole]
    assert b"photos/a" not in own_part(raw, 1)
    for alone in (orjson.dumps({"Records": made[:1]}), b"{", b"[]", orjson.dumps(UPLOAD)):
        assert own_part(alone, 0) == alone


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"tenant": "art", "uploader_id": "bob"}', True),
        (b'{"tenant": "art", "uploader_id": "bobby"}', False),
        (b'{"tenant": "other", "uploader_id": "bob"}', False),
        (b'{"uploader_id": "bob"}', False),
        (b'{"Records": [{"s3": {"bucket": {"name": "art"}}, "by": ["bob"]}]}', True),
        (b'{"tenant": "\\u0061rt", "uploader_id": "bob"}', True),
        (b'{"tenant": "art", "uploader_id": "bob"', True),
        (b"art bob", False),
        (b"[" * 900 + b'"art", "bob"' + b"]" * 900, True),
    ],
)
def test_of_whom_an_unreadable_record_speaks(raw: bytes, told: bool) -> None:
    assert speaks_of(raw, "art", "bob") is told


def test_a_record_without_a_tenant_speaks_of_the_default() -> None:
    assert speaks_of(b'{"uploader_id": "bob"}', "default", "bob")
    assert not speaks_of(b'{"uploader_id": "bob", "tenant": "art"}', "default", "bob")
