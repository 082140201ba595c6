"""What the demonstration sends in: pictures into the object store, events and bad records into Kafka."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from stream.demo_pictures import Picture
from stream.embedded import ObjectStore
from stream.events import Upload

TENANT = "demo"
_PEOPLE = 7


@dataclass(frozen=True, slots=True)
class Sent:
    """One upload as it was announced, and where a person finds the file."""

    picture: Picture
    path: Path
    upload: Upload


def new_run() -> str:
    """A word that opens every upload id of this run, so that runs against one database stay apart."""
    return f"demo-{secrets.token_hex(3)}"


def put_all(store: ObjectStore, pictures: list[Picture], output: Path, run: str) -> Iterator[Sent]:
    """Put each picture into the store. What is not the user's own is also written below `output`."""
    for number, picture in enumerate(pictures, 1):
        path = picture.source if picture.own and picture.source else output / "pictures" / picture.name
        if not picture.own:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.data)
        name = f"{number:04d}-{_plain(Path(picture.name).name)}"
        uri = store.put(f"{run}/{name}", picture.data)
        yield Sent(picture, path, _announcement(run, name, uri, number))


def gone(store: ObjectStore, output: Path, run: str) -> Sent:
    """An upload whose object has vanished from the store before a worker came to it."""
    name = "deleted.jpg"
    uri = store.put(f"{run}/{name}", b"deleted before it was fetched").replace(name, f"not-there-{name}")
    picture = Picture(f"hostile/{name}", b"", None, "deleted before it was fetched")
    return Sent(picture, output / "pictures" / picture.name, _announcement(run, name, uri, 0))


def bad_records(run: str) -> list[bytes]:
    """Records that no picture can be fetched for: not JSON, and an address that is out of bounds."""
    outside = _announcement(run, "passwd", "file:///etc/passwd", 0)
    return [b'{"schema": "pixassay.upload/1", "upload_id": ', outside.to_bytes()]


def event(upload: Upload) -> tuple[bytes, bytes]:
    """Key and value of the Kafka record."""
    return orjson.dumps([upload.tenant, upload.upload_id]), upload.to_bytes()


def _announcement(run: str, name: str, uri: str, number: int) -> Upload:
    """The uploaders are made up: a few people, in turn."""
    return Upload(
        upload_id=f"{run}/{name}",
        tenant=TENANT,
        uploader_id=f"person-{number % _PEOPLE + 1}",
        uri=uri,
        uploaded_at=datetime.now(UTC),
    )


def _plain(name: str) -> str:
    """A file name that can stand in an id and an address."""
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    return kept.encode("ascii", "replace").decode().replace("?", "_")[-120:]
