"""A GET of one object without the rest of boto3's call, for buckets where that call has been answered before.

Most of what boto3 takes of a core for a picture goes into events, endpoint rules and parsers, whose result is
the same for every object of a bucket: which host, which path before the key, which region to sign for. That
is kept of a call that was answered; later objects are asked for with the same client's signature over its
HTTP session. An answer other than 200 is nobody's word: the caller asks boto3, with its retries, redirects
and errors.
"""

import threading
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.response import StreamingBody
from botocore.signers import RequestSigner

Opened = tuple[int | None, StreamingBody]  # the stated length in bytes, and the body, to be closed

_MOST_BUCKETS = 10_000  # their names come from outside
_OK = 200


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a bucket is, or an object of it, and how to sign for it."""

    url: str
    region: str
    version: str  # of the signature
    signer: RequestSigner


class SignedGet:
    """Blocking; made to be called from many threads at once."""

    def __init__(self, client: Any) -> None:
        """`client` is the boto3 client to learn from."""
        self._http = client._endpoint.http_session  # with its TLS, proxies, time-outs and connections
        self._buckets: dict[str, _Place] = {}
        self._seen = threading.local()  # the object that boto3 has signed for last in this thread
        client.meta.events.register("before-sign.s3.GetObject", self._see)

    def learn(self, bucket: str, key: str) -> None:
        """Boto3 has just got this object, in this thread: keep where its bucket is."""
        seen: _Place | None = getattr(self._seen, "place", None)
        encoded = _encoded(key)
        # What is signed in another way (S3 Express, not at all) boto3 goes on reading.
        if seen and seen.version == "s3v4" and seen.url.endswith(f"/{encoded}"):
            if len(self._buckets) >= _MOST_BUCKETS:
                self._buckets.clear()
            url = seen.url.removesuffix(encoded)
            self._buckets[bucket] = _Place(url, seen.region, seen.version, seen.signer)

    def get(self, bucket: str, key: str) -> Opened | None:
        """The object, its body unread, or None: ask boto3. Raises BotoCoreError."""
        place = self._buckets.get(bucket)
        if place is None:
            return None
        headers = {"User-Agent": "pixassay"}
        request = AWSRequest("GET", place.url + _encoded(key), headers, stream_output=True)
        place.signer.get_auth_instance("s3", place.region, place.version).add_auth(request)
        answer: AWSResponse = self._http.send(request.prepare())
        if answer.status_code == _OK:
            return _opened(answer)
        answer.raw.close()
        return None

    def _see(
        self,
        request: AWSRequest,
        region_name: str,
        signature_version: str,
        request_signer: RequestSigner,
        **_more: object,
    ) -> None:
        self._seen.place = _Place(request.url or "", region_name, signature_version, request_signer)


def _opened(answer: AWSResponse) -> Opened:
    stated = str(answer.headers.get("Content-Length", ""))
    length = int(stated) if stated.isdecimal() else None
    return length, StreamingBody(answer.raw, cast("int", length))  # None is taken: not checked against it


def _encoded(key: str) -> str:
    """As botocore writes a key into a path."""
    return quote(key, safe="/~")
