"""Waiting out an outage: the same call again, with growing and jittered pauses, for as long as it takes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from stream.errors import Outage
from stream.telemetry import Telemetry

FIRST_S, LONGEST_S = 0.2, 10.0

T = TypeVar("T")


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try: doubling up to LONGEST_S, each between half and all of it.

    The jitter keeps many workers from coming back at the same instant ("Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015: the equal-jitter form).
    """
    pause = FIRST_S
    while True:
        yield random.uniform(pause / 2, pause)  # noqa: S311 - spreads load, guards nothing
        pause = min(pause * 2, LONGEST_S)


async def persist(action: Callable[[], Awaitable[T]], telemetry: Telemetry) -> T:
    """Do `action` until it raises no Outage. Any other exception passes through."""
    try:
        return await action()
    except Outage as outage:
        first = outage
        telemetry.retries[outage.part] += 1
    with telemetry.waiting_for(first):
        for pause in pauses():
            await asyncio.sleep(pause)
            try:
                return await action()
            except Outage as outage:
                telemetry.retries[outage.part] += 1
    raise AssertionError("pauses never end")
