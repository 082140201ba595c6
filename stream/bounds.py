"""What keeps memory bounded: seats in the steps, bytes of pictures held, batches for the database."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from stream.errors import Outage

T = TypeVar("T")
R = TypeVar("R")


class Room(asyncio.Semaphore):
    """The places of one step: for uploads at work in it and for those that wait for it."""

    def __init__(self, places: int) -> None:
        super().__init__(places)
        self.places = places

    @property
    def taken(self) -> int:
        """How many uploads are in it."""
        return self.places - self._value


class Seat:
    """The place of one upload on its way. It takes the next step's place before it gives up its own.

    So a step that is full holds up the one before it, and so on back to the consumer.
    """

    def __init__(self) -> None:
        self._held: asyncio.Semaphore | None = None

    async def move(self, step: asyncio.Semaphore) -> None:
        """Wait for a place in this step, then leave the one before."""
        if step is not self._held:
            await step.acquire()
            self.leave()
            self._held = step

    def leave(self) -> None:
        """Give up the place, if there is one."""
        if self._held is not None:
            self._held.release()
            self._held = None


class ByteBudget:
    """Bytes that all uploads together may hold. First come, first served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size: int) -> "Reservation":
        """Wait until `size` bytes fit. A size over the whole limit fits when nothing else is held."""
        if self._queue or not self._fits(size):
            turn = asyncio.get_running_loop().create_future()
            self._queue.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._change(-size)
                raise
        else:
            self.held += size
        return Reservation(self, size)

    def _fits(self, size: int) -> bool:
        return self.held == 0 or self.held + size <= self.limit

    def _change(self, difference: int) -> None:
        self.held += difference
        while self._queue and (self._queue[0][1].done() or self._fits(self._queue[0][0])):
            size, turn = self._queue.popleft()
            if not turn.done():
                self.held += size
                turn.set_result(None)


class Reservation:
    """Bytes held by one upload."""

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget = budget
        self.size = size

    def resize(self, size: int) -> None:
        """Hold this many bytes from now on; growing is never made to wait."""
        difference, self.size = size - self.size, size
        self._budget._change(difference)


class Batcher(Generic[T, R]):
    """Joins calls into batches: while one batch is under way the next one gathers.

    `write` gets up to `most` items and returns as many results, in order. Its exceptions reach
    the items of the batch; a batch of several that failed with anything but an Outage is tried
    again one by one, so that one bad item fails alone.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[list[R]]], most: int) -> None:
        self._write = write
        self._most = most
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def put(self, item: T) -> R:
        """The result for this item, once its batch is written."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def close(self) -> None:
        """Give up the batch that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            await self._settle([pair for pair in batch if not pair[1].done()])

    async def _settle(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            results = await self._write([item for item, _ in batch])
            answered = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - handed to those who wait for the item
            if len(batch) == 1 or isinstance(error, Outage):
                for _, answer in batch:
                    _fail(answer, error)
            else:
                for pair in batch:
                    await self._settle([pair])
            return
        for (_, answer), result in answered:
            if not answer.done():
                answer.set_result(result)


def _fail(answer: "asyncio.Future[R]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
