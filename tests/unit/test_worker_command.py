"""The worker's end, where something in it does not end."""

import subprocess
import sys

STUCK = """
import asyncio
from stream.commands.worker import _end_within

async def deaf():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def serve():
    asyncio.get_running_loop().deaf = asyncio.create_task(deaf())
    await asyncio.sleep(0)

with asyncio.Runner() as runner:
    runner.run(serve())
    _end_within(0.2)
"""


def test_a_task_that_heeds_no_cancellation_does_not_keep_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", STUCK], timeout=30, check=False).returncode == 0
