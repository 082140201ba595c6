"""Fetching from S3: on SeaweedFS what it can be made to do, and the rest from a server that misbehaves."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stream.embedded import S3Store, SeaweedFS
from stream.errors import CannotEvaluate, Outage, PixassayError, Undeliverable
from stream.events import Upload
from stream.fetch import Fetcher
from stream.reasons import Reason
from stream.settings import load_settings


def settings_for(server: SeaweedFS, **more: Any) -> Any:
    return load_settings(
        s3_endpoint=server.endpoint, s3_access_key=server.access_key, s3_secret_key=server.secret_key, **more
    )


def upload(uri: str, sha256: str | None = None) -> Upload:
    return Upload(upload_id="1", uri=uri, uploaded_at=datetime.now(UTC), sha256=sha256)


def failure(fetcher: Fetcher, uri: str) -> PixassayError:
    with pytest.raises(PixassayError) as caught:
        fetcher.fetch(upload(uri))
    return caught.value


def reason(error: PixassayError) -> tuple[type[PixassayError], Reason]:
    assert isinstance(error, CannotEvaluate | Undeliverable)
    return type(error), error.reason


def reasoned(error: PixassayError) -> tuple[type[PixassayError], Reason | None]:
    return type(error), None if isinstance(error, Outage) else reason(error)[1]


@pytest.fixture
def fetcher(seaweedfs: SeaweedFS) -> Fetcher:
    return Fetcher(settings_for(seaweedfs, max_bytes=3 << 20))


@pytest.mark.parametrize(
    "key",
    [
        "a.jpg",
        "deep/er/b.jpg",
        "with blank.jpg",
        "50%25 off?x=1&y#z.jpg",
        "äö/日本.png",
        "a+b.jpg",
        "a//b.jpg",
    ],
)
def test_any_key_is_read_as_it_is(fetcher: Fetcher, bucket: S3Store, key: str) -> None:
    data = key.encode() * 1000
    uri = bucket.put(key, data)
    for _ in range(2):  # through boto3, and then without it
        fetched = fetcher.fetch(upload(uri))
        assert fetched.data == data
        assert fetched.sha256 == hashlib.sha256(data).hexdigest()


def test_what_was_learned_of_a_bucket_reads_every_key_of_it_and_no_other_bucket(
    fetcher: Fetcher, bucket: S3Store, seaweedfs: SeaweedFS, unique: str
) -> None:
    keys = ["a.jpg", "deep/er/b.jpg", "50%25 off?x=1&y#z.jpg", "äö/日本.png", "a+b ~c.jpg", "a//b.jpg"]
    uris = [bucket.put(key, key.encode()) for key in keys]
    other = seaweedfs.bucket(f"{unique}-other").put("a.jpg", b"other")
    fetcher.fetch(upload(uris[0]))
    asked: list[str] = []
    client, _ = fetcher._clients()
    client.meta.events.register("before-sign.s3.GetObject", lambda request, **_: asked.append(request.url))
    assert [fetcher.fetch(upload(uri)).data for uri in uris] == [key.encode() for key in keys]
    assert asked == []  # boto3 was not needed
    assert fetcher.fetch(upload(other)).data == b"other"
    assert len(asked) == 1


def test_put_is_read_back_with_its_type(
    fetcher: Fetcher, bucket: S3Store, seaweedfs: SeaweedFS, unique: str
) -> None:
    fetcher.put(f"s3://{unique}/x/y.png", b"picture", "image/png")
    assert fetcher.fetch(upload(f"s3://{unique}/x/y.png")).data == b"picture"
    assert seaweedfs.client().head_object(Bucket=unique, Key="x/y.png")["ContentType"] == "image/png"


def test_what_is_gone_or_empty_or_too_large_or_another(
    fetcher: Fetcher, bucket: S3Store, unique: str
) -> None:
    assert reason(failure(fetcher, f"s3://{unique}/none")) == (CannotEvaluate, Reason.NOT_FOUND)
    assert reason(failure(fetcher, f"s3://{unique}-none/a")) == (CannotEvaluate, Reason.NOT_FOUND)
    assert reason(failure(fetcher, bucket.put("empty", b""))) == (CannotEvaluate, Reason.EMPTY_FILE)
    large = bucket.put("large", b"x" * ((3 << 20) + 1))
    assert reason(failure(fetcher, large)) == (CannotEvaluate, Reason.TOO_MANY_BYTES)
    assert len(fetcher.fetch(upload(bucket.put("fits", b"x" * (3 << 20)))).data) == 3 << 20
    with pytest.raises(CannotEvaluate, match="hash_mismatch"):
        fetcher.fetch(upload(bucket.put("other", b"x"), sha256="0" * 64))


def test_only_allowed_buckets(seaweedfs: SeaweedFS, bucket: S3Store, unique: str) -> None:
    other = seaweedfs.bucket(f"{unique}-other").put("a", b"other")
    mine = bucket.put("a", b"mine")
    limited = Fetcher(settings_for(seaweedfs, s3_buckets=(unique,)))
    assert limited.fetch(upload(mine)).data == b"mine"
    refused = [other, f"s3://{unique}/../{unique}-other/a", f"s3://{unique}/x/../../{unique}-other/a"]
    for uri in refused:
        assert reason(failure(limited, uri)) == (Undeliverable, Reason.URI_NOT_ALLOWED)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://b/k",
        "s3://arn:aws:s3:::x/key",
        "s3://a@b.c/key",
    ],
)
def test_what_is_no_object_is_refused(fetcher: Fetcher, uri: str) -> None:
    assert reason(failure(fetcher, uri)) == (Undeliverable, Reason.URI_NOT_ALLOWED)


def test_a_policy_that_denies_us(
    fetcher: Fetcher, bucket: S3Store, seaweedfs: SeaweedFS, unique: str
) -> None:
    uri = bucket.put("a", b"picture")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{unique}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [deny]}
    seaweedfs.client().put_bucket_policy(Bucket=unique, Policy=json.dumps(policy))
    assert reason(failure(fetcher, uri)) == (Undeliverable, Reason.ACCESS_DENIED)


@pytest.mark.parametrize("wrong", [{"s3_access_key": "nobody"}, {"s3_secret_key": "wrong"}])
def test_refused_credentials_are_an_outage(
    seaweedfs: SeaweedFS, bucket: S3Store, wrong: dict[str, str]
) -> None:
    """They would meet every upload: nothing may become a dead letter for it."""
    uri = bucket.put("a", b"picture")
    fields = settings_for(seaweedfs).model_dump(exclude_unset=True) | wrong
    error = failure(Fetcher(load_settings(**fields)), uri)
    assert isinstance(error, Outage)
    assert error.part == "object store"
    assert "credentials" in error.detail


def test_many_threads_share_a_fetcher(fetcher: Fetcher, bucket: S3Store) -> None:
    uris = [bucket.put(f"{number}", f"{number}".encode() * 5000) for number in range(40)]
    with ThreadPoolExecutor(16) as threads:
        fetched = list(threads.map(lambda uri: fetcher.fetch(upload(uri)).data, uris * 3))
    assert fetched == [f"{number}".encode() * 5000 for number in range(40)] * 3


def test_a_store_that_stops_and_comes_back(fresh_seaweedfs: SeaweedFS, unique: str) -> None:
    uri = fresh_seaweedfs.bucket(unique).put("a", b"picture")
    fetcher = Fetcher(settings_for(fresh_seaweedfs, s3_timeout_s=1))
    assert fetcher.fetch(upload(uri)).data == b"picture"
    fresh_seaweedfs.stop()
    assert isinstance(failure(fetcher, uri), Outage)
    fresh_seaweedfs.start()
    assert fetcher.fetch(upload(uri)).data == b"picture"


class Misbehaving(BaseHTTPRequestHandler):
    """Answers each GET as its key says: what no real server can be made to do at will."""

    asked: list[str]

    def do_GET(self) -> None:
        fault = self.path.rpartition("/")[2].partition("?")[0]
        self.asked.append(fault)
        if fault == "fine":
            self._body(b"picture", length=7)
        elif fault == "silent":
            self.server.patience.wait(60)  # type: ignore[attr-defined]
        elif fault == "cut":
            self._body(b"x" * 1000, length=5000)
        elif fault == "endless":
            self._body(b"x" * (2 << 20), length=None)
        elif fault == "lies":
            self._body(b"", length=1 << 40)
        else:
            code, _, name = fault.partition("-")
            body = f"<Error><Code>{name}</Code><Message>m</Message></Error>".encode()
            self._body(body, length=len(body), status=int(code))
        self.close_connection = True

    def _body(self, body: bytes, length: int | None, status: int = 200) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def misbehaving() -> Iterator[tuple[Fetcher, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Misbehaving,), {"asked": asked}))
    server.patience = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield (
        Fetcher(
            load_settings(
                s3_endpoint=endpoint,
                s3_access_key="k",
                s3_secret_key="s",
                s3_timeout_s=0.3,
                max_bytes=1 << 20,
            )
        ),
        asked,
    )
    server.patience.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "fault", ["503-SlowDown", "500-InternalError", "silent", "cut", "429-TooManyRequests"]
)
def test_a_store_in_trouble_is_an_outage(misbehaving: tuple[Fetcher, list[str]], fault: str) -> None:
    fetcher, asked = misbehaving
    error = failure(fetcher, f"s3://bucket/{fault}")
    assert isinstance(error, Outage)
    assert error.part == "object store"
    assert len(asked) == (1 if fault == "cut" else 3)  # a body that breaks off is the lane's to try again


@pytest.mark.parametrize(
    ("fault", "asked_for"),
    [("503-SlowDown", 4), ("silent", 4), ("403-AccessDenied", 2), ("404-NoSuchKey", 2), ("cut", 1)],
)
def test_in_a_bucket_that_has_answered_boto3_is_asked_once_more_about_what_goes_wrong(
    misbehaving: tuple[Fetcher, list[str]], fault: str, asked_for: int
) -> None:
    fetcher, asked = misbehaving
    first = reasoned(failure(fetcher, f"s3://bucket/{fault}"))
    assert fetcher.fetch(upload("s3://bucket/fine")).data == b"picture"
    asked.clear()
    assert reasoned(failure(fetcher, f"s3://bucket/{fault}")) == first
    assert len(asked) == asked_for
    assert fetcher.fetch(upload("s3://bucket/fine")).data == b"picture"


@pytest.mark.parametrize("fault", ["endless", "lies"])
def test_the_cap_holds_in_a_bucket_that_has_answered(
    misbehaving: tuple[Fetcher, list[str]], fault: str
) -> None:
    fetcher, asked = misbehaving
    fetcher.fetch(upload("s3://bucket/fine"))
    assert reason(failure(fetcher, f"s3://bucket/{fault}")) == (CannotEvaluate, Reason.TOO_MANY_BYTES)
    assert asked == ["fine", fault]


@pytest.mark.parametrize("fault", ["endless", "lies"])
def test_the_cap_holds_whatever_the_store_says(misbehaving: tuple[Fetcher, list[str]], fault: str) -> None:
    assert reason(failure(misbehaving[0], f"s3://bucket/{fault}")) == (CannotEvaluate, Reason.TOO_MANY_BYTES)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("403-AccessDenied", (Undeliverable, Reason.ACCESS_DENIED)),
        ("403-InvalidObjectState", (Undeliverable, Reason.ACCESS_DENIED)),
        ("400-InvalidRequest", (Undeliverable, Reason.ACCESS_DENIED)),
        ("404-NoSuchKey", (CannotEvaluate, Reason.NOT_FOUND)),
        ("404-NoSuchBucket", (CannotEvaluate, Reason.NOT_FOUND)),
        ("400-KeyTooLongError", (CannotEvaluate, Reason.NOT_FOUND)),
    ],
)
def test_refusals(
    misbehaving: tuple[Fetcher, list[str]], answer: str, expected: tuple[type[PixassayError], Reason]
) -> None:
    assert reason(failure(misbehaving[0], f"s3://bucket/{answer}")) == expected


def test_expired_credentials_are_an_outage(misbehaving: tuple[Fetcher, list[str]]) -> None:
    for answer in ("400-ExpiredToken", "403-InvalidAccessKeyId", "403-RequestTimeTooSkewed"):
        assert isinstance(failure(misbehaving[0], f"s3://bucket/{answer}"), Outage)


def test_no_credentials_at_all_are_an_outage(seaweedfs: SeaweedFS) -> None:
    assert isinstance(
        failure(Fetcher(load_settings(s3_endpoint=seaweedfs.endpoint)), "s3://bucket/a"), Outage
    )
