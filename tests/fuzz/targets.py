"""What is fuzzed, and what must hold whatever comes in. Any exception of a target is a finding."""

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from stream.decode import decode
from stream.errors import BadRecord, CannotEvaluate
from stream.events import Label, Upload, own_part, parse_label, parse_record, speaks_of, verdict_id
from stream.flag import LARGEST_RECORD, dead_of
from stream.reasons import Reason
from stream.types import DeadLetter, Origin
from tests.fuzz.damage import damaged_json, damaged_picture
from tests.fuzz.planted import check_planted
from tests.hostile.mutate import mutated
from tests.hostile.sound import odd_palettes, sound_files
from tests.hostile.strangers import lying_metadata, polyglots
from tests.unit.picture_files import LIMITS, VIEWS

Damage = Callable[[bytes, Sequence[bytes], random.Random], bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """`check` raises where something does not hold; `damage` makes one input of another."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    damage: Damage
    most_bytes: int  # of one input


def check_events(data: bytes) -> None:
    """Every record is uploads, bad parts, or nothing; each can be buried, and uploads survive the wire."""
    for index, part in enumerate(parse_record(data)):
        upload = part if isinstance(part, Upload) else None
        if upload is not None:
            assert parse_record(upload.to_bytes()) == [upload]
            assert UUID(verdict_id(upload.tenant, upload.upload_id, "bundle")).version == 5
        kept = own_part(data, index)
        assert parse_record(kept)
        speaks_of(kept, "default", "u-1")
        letter = DeadLetter(Origin("t", 0, 0), Reason.BAD_JSON, "", kept, upload=upload, index=index)
        assert len(dead_of(letter).to_bytes()) <= LARGEST_RECORD
    with contextlib.suppress(BadRecord):
        assert isinstance(parse_label(data), Label)


def check_decode(data: bytes) -> None:
    """Every file gives views of the stated shapes, or a reason."""
    try:
        made = decode(data, VIEWS, LIMITS)
    except CannotEvaluate:
        return
    assert 1 <= made.facts.width * made.facts.height <= LIMITS.max_pixels
    assert 1 <= made.facts.frames <= LIMITS.max_frames
    for view in VIEWS:
        frames, *shape = made.arrays[view.name].shape
        assert shape == [view.size, view.size, 3]
        assert 1 <= frames <= min(made.facts.frames, LIMITS.sample_frames)


def _events() -> Sequence[bytes]:
    moment = "2026-11-24T12:00:00Z"
    upload = {"schema": "pixassay.upload/1", "upload_id": "u-1", "uri": "s3://b/k.jpg", "uploaded_at": moment}
    full = {
        **upload,
        "tenant": "default",
        "uploader_id": "eve",
        "sha256": "0" * 64,
        "content_type": "image/png",
    }
    item = {"key": "a+b%2Fc.jpg", "size": 1, "eTag": "abc", "versionId": "v", "sequencer": "1"}
    created = {
        "eventName": "ObjectCreated:Put",
        "eventTime": moment,
        "userIdentity": {"principalId": "AWS:eve"},
        "s3": {"bucket": {"name": "pictures"}, "object": item},
    }
    removed = {**created, "eventName": "s3:ObjectRemoved:Delete"}
    label = {
        "schema": "pixassay.label/1",
        "verdict_id": str(UUID(int=0)),
        "tenant": "default",
        "upload_id": "u-1",
        "decision": "synthetic",
        "reviewer": "ana",
        "decided_at": moment,
        "note": "six fingers",
    }
    records = [upload, full, label, {"Records": [created, removed]}, {"Event": "s3:TestEvent"}, []]
    return [*map(orjson.dumps, records), b"null", b"\xff"]


_MOST_OF_A_PICTURE = 40_000


def _pictures() -> Sequence[bytes]:
    made = {**sound_files(), **odd_palettes(), **polyglots(), **lying_metadata()}
    return [data for data in made.values() if len(data) <= _MOST_OF_A_PICTURE]


TARGETS = {
    "events": Target(check_events, _events, damaged_json, 4_000),
    "planted": Target(
        check_planted, lambda: [b"aaaa"], lambda data, _, pick: mutated(data or b"a", [data], pick), 8
    ),
    "decode": Target(check_decode, _pictures, damaged_picture, _MOST_OF_A_PICTURE),
}
