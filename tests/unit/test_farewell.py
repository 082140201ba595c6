"""A client of Kafka that does not close holds nobody up, and what it says at the end breaks nothing."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from stream import kafka
from stream.kafka import farewell


async def test_a_client_that_never_closes_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ANSWER_S", 0.05)
    async with asyncio.timeout(10):
        await farewell(asyncio.get_running_loop().create_future())


async def test_an_error_at_the_end_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise KafkaConnectionError("gone")

    with caplog.at_level("DEBUG", logger="pixassay"):
        await farewell(broken())
    assert "did not leave Kafka in order" in caplog.text


async def test_a_defect_is_raised() -> None:
    async def broken() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await farewell(broken())
