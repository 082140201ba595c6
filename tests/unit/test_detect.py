"""Dynamic batching: who goes with whom, when a batch leaves, and whom a fault reaches."""

import asyncio
import threading
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.detect import Detector
from stream.errors import Outage


class Recorder:
    """An engine that keeps its batches, and holds each until it is let go. Logit 0 is the first pixel."""

    name, precision = "recorder", "f32"

    def __init__(self, largest: int = 8, callers: int = 1) -> None:
        self.buckets: tuple[int, ...] = (1, largest)
        self.callers = callers
        self.batches: list[list[int]] = []
        self.at_once = self.most_at_once = 0
        self.gate = threading.Semaphore(10_000)
        self.lock = threading.Lock()
        self.fails_on = -1

    def hold(self) -> None:
        self.gate = threading.Semaphore(0)

    def score(self, views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        first = views["global"][:, 0, 0, 0]
        with self.lock:
            self.batches.append(first.tolist())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.gate.acquire(timeout=30)
        with self.lock:
            self.at_once -= 1
        if self.fails_on in first:
            raise FloatingPointError("the engine broke")
        assert all(len(array) <= self.buckets[-1] for array in views.values())
        return np.stack([first, views["mosaic"][:, 0, 0, 0]], axis=1).astype(np.float32)

    def close(self) -> None:
        pass


def picture(*values: int) -> dict[str, NDArray[np.uint8]]:
    """One frame a value; its mosaic holds the value plus 100."""
    frames = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    return {
        "global": np.broadcast_to(frames, (len(values), 4, 4, 3)),
        "mosaic": np.broadcast_to(frames + 100, (len(values), 2, 2, 3)),
    }


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (the engine is in another thread)
            await asyncio.sleep(0.001)


async def test_everyone_gets_the_logits_of_their_own_frames() -> None:
    engine = Recorder(largest=8)
    detector = Detector(engine, 8, 5)
    pictures = [tuple(range(start, start + 1 + start % 3)) for start in range(0, 90, 3)]
    answers = await asyncio.gather(*(detector.score(picture(*values)) for values in pictures))
    for values, logits in zip(pictures, answers, strict=True):
        assert logits.tolist() == [[value, value + 100] for value in values]
    await detector.close()
    assert sum(map(len, engine.batches)) == sum(map(len, pictures))


async def test_a_full_batch_leaves_at_once() -> None:
    engine = Recorder()
    detector = Detector(engine, 4, 3_600_000)
    await asyncio.gather(*(detector.score(picture(value)) for value in range(8)))
    assert engine.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    await detector.close()


async def test_a_lone_picture_leaves_after_its_wait() -> None:
    engine = Recorder()
    detector = Detector(engine, 8, 30)
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert (await detector.score(picture(7))).tolist() == [[7, 107]]
    assert loop.time() - start >= 0.029
    await detector.close()


async def test_the_next_batch_fills_while_the_engine_runs() -> None:
    engine = Recorder()
    engine.hold()
    detector = Detector(engine, 8, 0)
    first = asyncio.create_task(detector.score(picture(0)))
    await until(lambda: engine.batches)
    rest = [asyncio.create_task(detector.score(picture(value))) for value in range(1, 9)]
    await asyncio.sleep(0.05)
    assert engine.batches == [[0]]
    engine.gate.release(10)
    await asyncio.gather(first, *rest)
    assert engine.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8]]
    await detector.close()


async def test_an_engine_with_two_slots_has_two_batches_under_way_and_no_more() -> None:
    engine = Recorder(largest=2, callers=2)
    engine.hold()
    detector = Detector(engine, 2, 0)
    tasks = [asyncio.create_task(detector.score(picture(value))) for value in range(10)]
    await until(lambda: len(engine.batches) == 2)
    await asyncio.sleep(0.05)
    assert engine.at_once == 2
    engine.gate.release(100)
    answers = await asyncio.gather(*tasks)
    assert [logits[0, 0] for logits in answers] == list(range(10))
    assert engine.most_at_once == 2
    await detector.close()


async def test_the_frames_of_one_picture_may_exceed_a_batch() -> None:
    engine = Recorder(largest=4)
    detector = Detector(engine, 32, 0)
    logits = await detector.score(picture(*range(11)))
    assert logits[:, 0].tolist() == list(range(11))
    assert [len(batch) for batch in engine.batches] == [4, 4, 3]
    await detector.close()


async def test_a_fault_reaches_exactly_the_callers_of_its_batch() -> None:
    engine = Recorder()
    engine.fails_on = 2
    detector = Detector(engine, 4, 3_600_000)
    answers = await asyncio.gather(
        *(detector.score(picture(value)) for value in range(12)), return_exceptions=True
    )
    assert [isinstance(answer, Outage) for answer in answers] == [True] * 4 + [False] * 8
    assert "FloatingPointError: the engine broke" in str(answers[0])
    assert len({id(answer) for answer in answers}) == 12
    await detector.close()


async def test_a_caller_that_goes_away_takes_nobody_along() -> None:
    engine = Recorder()
    engine.hold()
    detector = Detector(engine, 8, 0)
    busy = asyncio.create_task(detector.score(picture(0)))
    await until(lambda: engine.batches)
    gone, stays = (asyncio.create_task(detector.score(picture(value))) for value in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    engine.gate.release(10)
    assert (await stays).tolist() == [[2, 102]]
    await busy
    assert engine.batches == [[0], [2]]
    await detector.close()


async def test_close_scores_what_waits_and_refuses_what_comes_after() -> None:
    engine = Recorder()
    detector = Detector(engine, 8, 3_600_000)
    waiting = [asyncio.create_task(detector.score(picture(value))) for value in range(3)]
    await asyncio.sleep(0)
    await detector.close()
    assert [(await task)[0, 0] for task in waiting] == [0, 1, 2]
    with pytest.raises(Outage):
        await detector.score(picture(1))


async def test_close_without_a_picture() -> None:
    await Detector(Recorder(), 8, 20).close()
