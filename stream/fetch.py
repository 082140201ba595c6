"""Fetch step: the bytes behind an upload's URI, from S3 or from a folder that the settings allow."""

import hashlib
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from stream.errors import CannotEvaluate, Outage, PixassayError, Undeliverable
from stream.events import Upload
from stream.fetch_file import read_file
from stream.reasons import Reason
from stream.settings import Settings
from stream.signed_get import Opened, SignedGet
from stream.types import Fetched

log = logging.getLogger("pixassay")

PART = "object store"
_CHUNK = 1 << 20
_ATTEMPTS = 3  # of botocore's standard mode, within one fetch; the lane tries again after that
# No ":" and no "/": an access point's ARN would lead past the list of allowed buckets.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")

# Refusals of our credentials rather than of this object: every upload would meet them, so the
# lane waits until somebody mends them instead of turning the whole stream into dead letters.
_OUR_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_GONE = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NotFound", "404", "KeyTooLongError"})
_BUSY = frozenset(
    {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException"}
)


class Fetcher:
    """Reads pictures whole. Blocking; made to be called from many threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._s3: tuple[Any, SignedGet] | None = None

    def fetch(self, upload: Upload) -> Fetched:
        """The bytes of the upload's picture, and their SHA-256.

        Raises CannotEvaluate (gone, empty, over max_bytes, not the stated hash), Undeliverable
        (outside of what the settings allow, or refused) and Outage (the store does not answer).
        """
        data = self._read(upload.uri)
        if not data:
            raise CannotEvaluate(Reason.EMPTY_FILE, upload.uri)
        digest = hashlib.sha256(data).hexdigest()
        if upload.sha256 is not None and upload.sha256.lower() != digest:
            raise CannotEvaluate(Reason.HASH_MISMATCH, f"its SHA-256 is {digest}")
        return Fetched(data, digest)

    def put(self, uri: str, data: bytes, content_type: str) -> None:
        """Store one picture at an s3:// URI. Raises as `fetch` does."""
        bucket, key = self._bucket_and_key(uri)
        try:
            self._clients()[0].put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)
        except (ClientError, BotoCoreError) as error:
            raise _translated(error, uri) from error

    def _read(self, uri: str) -> bytes:
        scheme, _, rest = uri.partition("://")
        match scheme.lower():
            case "s3":
                return self._read_s3(uri)
            case "file":
                return read_file(rest, self._settings.file_roots, self._settings.max_bytes)
        raise Undeliverable(Reason.URI_NOT_ALLOWED, f"{uri[:200]}: only s3:// and file:// are read")

    def _read_s3(self, uri: str) -> bytes:
        bucket, key = self._bucket_and_key(uri)
        try:
            stated, answered = self._get(bucket, key)
            with closing(answered) as body:  # its own __enter__ gives the raw response
                return _capped(stated, body, self._settings.max_bytes)
        except (ClientError, BotoCoreError) as error:
            raise _translated(error, uri) from error

    def _get(self, bucket: str, key: str) -> Opened:
        """Quickly where its bucket has answered before, and else, or where that fails, by boto3."""
        client, quick = self._clients()
        try:
            if (opened := quick.get(bucket, key)) is not None:
                return opened
        except BotoCoreError as error:
            log.debug("boto3 is to ask again for %s/%s: %r", bucket, key, error)
        answer = client.get_object(Bucket=bucket, Key=key)
        quick.learn(bucket, key)
        return answer.get("ContentLength"), answer["Body"]

    def _bucket_and_key(self, uri: str) -> tuple[str, str]:
        """Cut by hand: a key may hold "?", "#" and "%", which a URL parser would take for its own."""
        bucket, _, key = uri[len("s3://") :].partition("/")
        if not _BUCKET.fullmatch(bucket) or not key:
            raise Undeliverable(Reason.URI_NOT_ALLOWED, f"{uri[:200]} is not s3://bucket/key")
        # An HTTP client folds "a/../b" before it sends; with the bucket in the path that can leave it.
        if not {".", ".."}.isdisjoint(key.split("/")):
            raise Undeliverable(Reason.URI_NOT_ALLOWED, f"{uri[:200]} has a dot segment in its key")
        allowed = self._settings.s3_buckets
        if allowed and bucket not in allowed:
            raise Undeliverable(Reason.URI_NOT_ALLOWED, f"bucket {bucket} is not in PIXASSAY_S3_BUCKETS")
        return bucket, key

    def _clients(self) -> tuple[Any, SignedGet]:
        with self._lock:
            if self._s3 is None:
                client = s3_client(self._settings)
                self._s3 = client, SignedGet(client)
            return self._s3


def s3_client(settings: Settings) -> Any:
    """A boto3 S3 client with our endpoint, keys, time-outs and retries; safe to share by threads."""
    secret = settings.s3_secret_key
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        verify=str(settings.s3_ca_file) if settings.s3_ca_file else None,
        config=Config(
            connect_timeout=settings.s3_timeout_s,
            read_timeout=settings.s3_timeout_s,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=settings.fetchers,
            # Other stores than AWS rarely resolve bucket.host, and not all know the newer checksums.
            s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _capped(stated: int | None, body: Any, cap: int) -> bytes:
    """The body, read no further than the cap whatever length the server states."""
    if stated is not None and stated > cap:
        raise CannotEvaluate(Reason.TOO_MANY_BYTES, f"{stated} bytes, at most {cap}")
    parts, size = [], 0
    chunks: Iterator[bytes] = body.iter_chunks(_CHUNK)
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > cap:
            raise CannotEvaluate(Reason.TOO_MANY_BYTES, f"more than {cap} bytes")
    return b"".join(parts)


def _translated(error: ClientError | BotoCoreError, uri: str) -> PixassayError:
    """What a failure of the store means for this upload."""
    if isinstance(error, ParamValidationError):
        return Undeliverable(Reason.URI_NOT_ALLOWED, f"{uri[:200]}: {error}")
    if not isinstance(error, ClientError):
        return Outage(PART, f"{type(error).__name__}: {error}")
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _OUR_CREDENTIALS:
        return Outage(PART, f"it refuses our credentials ({code}); set them anew")
    if code in _BUSY or status >= 500 or status == 429:
        return Outage(PART, f"{code} (HTTP {status})")
    if code in _GONE or status == 404:
        return CannotEvaluate(Reason.NOT_FOUND, f"{uri}: {code}")
    return Undeliverable(Reason.ACCESS_DENIED, f"{uri}: {code} (HTTP {status})")
