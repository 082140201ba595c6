"""Detect step: dynamic batches. Pictures of concurrent callers go through the engine together."""

import asyncio
import functools
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.engines import Engine
from stream.errors import Outage

PART = "engine"
Arrays = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Request:
    arrays: Arrays  # view name -> [F, H, W, 3]
    frames: int
    due: float  # loop time at which it has waited long enough
    answer: "asyncio.Future[NDArray[np.float32]]"


class Detector:
    """Batches for one engine, which runs in threads of its own while the next batch fills.

    A batch leaves when it is full or when its oldest picture has waited `max_wait_ms`.
    For one event loop.
    """

    def __init__(self, engine: Engine, max_batch: int, max_wait_ms: float) -> None:
        self._engine = engine
        self._capacity = min(max_batch, engine.buckets[-1])
        self._max_wait_s = max_wait_ms / 1000
        self._waiting: deque[_Request] = deque()
        self._changed = asyncio.Event()
        self._closing = False
        self._callers = engine.callers
        self._threads = ThreadPoolExecutor(self._callers, thread_name_prefix="engine")
        self._runner: asyncio.Task[None] | None = None

    async def score(self, arrays: Arrays) -> NDArray[np.float32]:
        """Raw logits [F, D] of one picture's views [F, H, W, 3].

        Raises Outage where the engine failed on the batch that this picture was in.
        """
        if self._closing:
            raise Outage(PART, "it was closed")
        loop = asyncio.get_running_loop()
        frames = len(next(iter(arrays.values())))
        request = _Request(arrays, frames, loop.time() + self._max_wait_s, loop.create_future())
        self._waiting.append(request)
        self._changed.set()
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="detector")
        return await request.answer

    async def close(self) -> None:
        """Score what waits, then stop."""
        self._closing = True
        self._changed.set()
        if self._runner is not None:
            await self._runner
        self._threads.shutdown()

    async def _run(self) -> None:
        loop, free = asyncio.get_running_loop(), asyncio.Semaphore(self._callers)
        while await self._batch_is_due():
            await free.acquire()  # what comes in meanwhile joins this batch
            batch = self._take()
            arrays = [request.arrays for request in batch]
            if not batch:  # all of its callers have gone
                free.release()
                continue
            running = loop.run_in_executor(self._threads, _score, self._engine, self._capacity, arrays)
            running.add_done_callback(functools.partial(_deliver, batch, free))
        for _ in range(self._callers):
            await free.acquire()

    async def _batch_is_due(self) -> bool:
        """Wait for a batch that should leave; False where none will come any more."""
        loop = asyncio.get_running_loop()
        while sum(request.frames for request in self._waiting) < self._capacity:
            if self._closing:
                return bool(self._waiting)
            self._changed.clear()
            left = self._waiting[0].due - loop.time() if self._waiting else None
            if left is not None and left <= 0:
                return True
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return True
        return True

    def _take(self) -> list[_Request]:
        """The oldest requests that fit; the frames of one picture stay together, even beyond a batch."""
        batch: list[_Request] = []
        frames = 0
        while self._waiting and (not batch or frames + self._waiting[0].frames <= self._capacity):
            request = self._waiting.popleft()
            if not request.answer.done():  # its caller was cancelled
                batch.append(request)
                frames += request.frames
        return batch


def _score(engine: Engine, capacity: int, pictures: Sequence[Arrays]) -> list[NDArray[np.float32]]:
    """Logits [F, D] of each picture; in the engine's thread."""
    together = {name: np.concatenate([arrays[name] for arrays in pictures]) for name in pictures[0]}
    frames = len(next(iter(together.values())))
    parts = [
        engine.score({name: array[start : start + capacity] for name, array in together.items()})
        for start in range(0, frames, capacity)
    ]
    ends = np.cumsum([len(next(iter(arrays.values()))) for arrays in pictures])[:-1]
    return np.split(np.concatenate(parts), ends)


def _deliver(
    batch: Sequence[_Request], free: asyncio.Semaphore, done: "asyncio.Future[list[NDArray[np.float32]]]"
) -> None:
    free.release()
    fault = done.exception()
    results: Sequence[NDArray[np.float32] | None] = [None] * len(batch) if fault else done.result()
    for request, logits in zip(batch, results, strict=True):
        if request.answer.done():
            continue
        if logits is None:
            request.answer.set_exception(_outage(fault))
        else:
            request.answer.set_result(logits)


def _outage(fault: BaseException | None) -> Outage:
    """One error a caller: an exception that is raised in several places collects their tracebacks."""
    if isinstance(fault, Outage):
        return Outage(fault.part, fault.detail)
    error = Outage(PART, f"{type(fault).__name__}: {fault}")
    error.__cause__ = fault
    return error
