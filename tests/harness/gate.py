"""A TCP proxy before an S3 server that lets one bucket's requests in and never answers them."""

import asyncio
from types import TracebackType
from urllib.parse import urlsplit

from stream.embedded.places import LOOPBACK

_CHUNK = 65_536


class BucketGate:
    """Between a worker and an S3 server on loopback. While it is shut, reads of `bucket` hang.

    Requests have their bucket in the path; a read has no body, so each begins a chunk of its own.
    """

    def __init__(self, endpoint: str, bucket: str) -> None:
        self._target, self._stalled = urlsplit(endpoint).port, f"GET /{bucket}/".encode()
        self._open = asyncio.Event()
        self._open.set()
        self._serving: set[asyncio.Task[None]] = set()
        self.held = 0  # requests that were held up

    async def __aenter__(self) -> "BucketGate":
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0, limit=_CHUNK)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    def shut(self) -> None:
        """From now on, reads of the bucket hang."""
        self._open.clear()

    def open(self) -> None:
        """All goes through again, also what was held."""
        self._open.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(LOOPBACK, self._target, limit=_CHUNK)
        ways = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, forth), (back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (forth, writer):
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            if data.startswith(self._stalled) and not self._open.is_set():
                self.held += 1
                await self._open.wait()
            writer.write(data)
            await writer.drain()
