"""What a platform sends: upload events, S3 notifications, repeats and records that are none of these."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus

import orjson

from stream.events import Upload, s3_upload_id

STRICT, LENIENT = "strict", "lenient"  # tenants of tests/harness/policy.py
Key = tuple[str, str]  # tenant, upload_id
Record = tuple[bytes, bytes]  # key, value

_UPLOADERS = ("ana", "ben", "cleo", "dan")
_OUTSIDE = b"""{"schema": "pixassay.upload/1", "upload_id": "outside", "uri": "file:///etc/passwd",
    "uploaded_at": "2026-11-01T00:00:00Z"}"""
_BAD = (
    b"",
    b"{not json",
    b"\xff\xfe\x00",
    b"[]",
    b'{"schema": "pixassay.upload/9"}',
    b'{"schema": "pixassay.upload/1", "upload_id": "", "uri": "s3://b/k", "uploaded_at": "today"}',
    _OUTSIDE,
    b'{"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]}',
)


@dataclass(slots=True)
class Traffic:
    """Records in the order in which they are sent, and what must come of them."""

    records: list[Record] = field(default_factory=list)
    uploads: set[Key] = field(default_factory=set)  # each must end in exactly one row
    repeats: int = 0  # records that announce an upload again
    bad: int = 0  # records that must end as dead letters

    def add(self, other: "Traffic") -> None:
        """Sent after this."""
        self.records += other.records
        self.uploads |= other.uploads
        self.repeats += other.repeats
        self.bad += other.bad


class Sender:
    """Makes traffic about pictures that lie in a store. The same seed makes the same traffic."""

    def __init__(self, files: Sequence[str], objects: Sequence[str], seed: int) -> None:
        """`files` are file:// URIs, `objects` s3:// URIs."""
        self._files, self._objects = files, objects
        self._random = random.Random(seed)
        self._made = 0
        self._start = datetime.now(UTC) - timedelta(hours=1)

    def traffic(self, uploads: int, repeated: float = 0.05, bad: float = 0.01) -> Traffic:
        """So many different uploads, a share of them twice, and a share of bad records, mixed."""
        made = Traffic()
        while len(made.uploads) < uploads:
            left = uploads - len(made.uploads)
            made.records += self._s3(made, left) if self._random.random() < 0.1 else self._own(made)
        again = self._random.sample(made.records, round(repeated * len(made.records)))
        made.repeats = len(again)
        junk = [(b"junk", self._random.choice(_BAD)) for _ in range(round(bad * uploads))]
        made.bad = len(junk)
        for record in (*again, *junk):
            made.records.insert(self._random.randrange(len(made.records) + 1), record)
        return made

    def _own(self, made: Traffic) -> Iterator[Record]:
        pick, self._made = self._random, self._made + 1
        upload = Upload(
            upload_id=f"upload-{self._made:06d}",
            tenant=pick.choice((STRICT, LENIENT, "default")),
            uploader_id=pick.choice(_UPLOADERS),
            uri=pick.choice(pick.choice((self._files, self._objects))),
            uploaded_at=self._moment(),
        )
        made.uploads.add((upload.tenant, upload.upload_id))
        yield f"{upload.tenant}/{upload.upload_id}".encode(), upload.to_bytes()

    def _s3(self, made: Traffic, most: int) -> Iterator[Record]:
        """One notification of one to three objects, as S3 writes them."""
        items = []
        for uri in self._random.sample(self._objects, min(most, self._random.randint(1, 3))):
            self._made += 1
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            tag = f"{self._made:032x}"  # as if the object had been written anew
            made.uploads.add((bucket, s3_upload_id(bucket, key, tag)))
            items.append(
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "eventTime": self._moment().strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "userIdentity": {"principalId": self._random.choice(_UPLOADERS)},
                    "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key), "eTag": tag}},
                }
            )
        yield b"", orjson.dumps({"Records": items})

    def _moment(self) -> datetime:
        return self._start + timedelta(milliseconds=self._made)
