"""The proxy: what it forwards, and what its clients see when it does not."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from stream.embedded.places import LOOPBACK
from tests.faults.proxy import Proxy


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that sends back what it gets."""
    server = await asyncio.start_server(_echo, LOOPBACK, 0)
    one = Proxy()
    await one.open(server.sockets[0].getsockname()[1])
    yield one
    await one.close()
    server.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, words: bytes) -> bytes:
        self._writer.write(words)
        async with asyncio.timeout(5):
            return await self._reader.read(1000)

    def close(self) -> None:
        self._writer.transport.abort()


async def client(proxy: Proxy) -> Client:
    return Client(*await asyncio.open_connection(LOOPBACK, proxy.port))


async def test_it_forwards(proxy: Proxy) -> None:
    one, two = await client(proxy), await client(proxy)
    assert (await one.ask(b"a"), await two.ask(b"b"), await one.ask(b"c")) == (b"a", b"b", b"c")
    one.close()
    two.close()


async def test_a_cut_resets_what_there_is_and_lets_others_in(proxy: Proxy) -> None:
    one = await client(proxy)
    assert await one.ask(b"a") == b"a"
    proxy.cut()
    with pytest.raises(ConnectionError):
        await one.ask(b"b")
    other = await client(proxy)
    assert await other.ask(b"c") == b"c"
    one.close()
    other.close()


async def test_it_refuses_until_it_is_opened_again(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await client(proxy)
    await proxy.open()
    one = await client(proxy)
    assert await one.ask(b"a") == b"a"
    one.close()


async def test_what_is_held_comes_later(proxy: Proxy) -> None:
    one = await client(proxy)
    assert await one.ask(b"a") == b"a"
    proxy.hold()
    answer = asyncio.create_task(one.ask(b"b"))
    await asyncio.sleep(0.2)
    assert not answer.done()
    proxy.flow()
    assert await answer == b"b"
    one.close()
