"""A TCP proxy on loopback that can cut, refuse and hold what goes through it."""

import asyncio
import contextlib

from stream.embedded.places import LOOPBACK, Ports

_CHUNK = 65_536


class Proxy:
    """Forwards connections on `port`, which is kept from the start, to the target given to `open`.

    An async context manager; used on one event loop.
    """

    def __init__(self) -> None:
        self._kept = Ports(1)
        self.port = self._kept.numbers[0]
        self._target = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def open(self, target: int | None = None) -> None:
        """Accept connections (again), for the loopback port `target` or the one before."""
        self._target = target or self._target
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=_CHUNK)

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, until `open`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def hold(self) -> None:
        """Accept everything and pass nothing on, until `flow`: nobody is told that something is wrong."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass on what was held, and all that comes."""
        self._flowing.set()

    async def close(self) -> None:
        """End it, and give the port back."""
        self.refuse()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self._kept.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways. The end of one way ends both."""
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            back, forth = await asyncio.open_connection(LOOPBACK, self._target, limit=_CHUNK)
            self._writers.add(forth)
            ways = [asyncio.create_task(self._pass_on(*way)) for way in ((reader, forth), (back, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                self._writers.discard(forth)
                forth.transport.abort()
        except OSError:
            pass  # the target does not listen, or was gone at once: the client sees a reset
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
