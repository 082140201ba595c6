"""Waiting for the first of several things, or for one thing and no longer than a given time."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def first_of(*actions: Awaitable[Any], seconds: float | None = None) -> bool:
    """Whether one of them ended within the time. The others are cancelled; raises what the first raised."""
    tasks = [asyncio.ensure_future(action) for action in actions]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    return bool(done)
