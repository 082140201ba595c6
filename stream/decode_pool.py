"""Decoding in processes of their own: a hang, a crash or a memory blow-up costs one process and one file.

One process has one socket and serves one picture at a time. Pools whose workers share a queue
(concurrent.futures, pebble) break as a whole when a worker dies at the wrong instant.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from models.spec import ViewSpec
from stream.decode import Limits
from stream.decode_process import PART, DecodeProcess
from stream.errors import CannotEvaluate, Outage
from stream.reasons import Reason
from stream.settings import Settings
from stream.types import Views


def limits_of(settings: Settings) -> Limits:
    """The settings' limits on one picture. Not in decode.py: a decoding process needs no settings."""
    return Limits(
        max_bytes=settings.max_bytes,
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
        sample_frames=settings.sample_frames,
        timeout_s=settings.decode_timeout_s,
        memory_mb=settings.decode_memory_mb,
    )


class DecodePool:
    """A fixed number of decoding processes; a dead one is replaced when the next picture comes."""

    def __init__(
        self,
        views: Sequence[ViewSpec],
        limits: Limits,
        processes: int,
        program: str = "stream.decode_child",
    ) -> None:
        """`program` is the module whose `main` each process runs; tests put their faults there."""
        self._views, self._limits, self._program = tuple(views), limits, program
        self._closing = threading.Event()
        self._running: set[DecodeProcess] = set()
        self._slots: queue.SimpleQueue[DecodeProcess | None] = queue.SimpleQueue()
        for _ in range(processes):
            self._slots.put(self._start())
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="decode")

    def submit(self, data: bytes, resave: int | None = None) -> Future[Views]:
        """The views of one picture, or of its copy saved once more as JPEG of quality `resave`.

        The future raises CannotEvaluate and NotApplicable as `stream.decode.decode` does, besides
        decode_timeout and decoder_crashed, and Outage where no process can be started.
        """
        return self._threads.submit(self._decode, data, resave)

    @property
    def processes(self) -> frozenset[int]:
        """The ids of the processes that run now."""
        return frozenset(process.pid for process in tuple(self._running))

    def close(self) -> None:
        """Stop at once: what waits is cancelled, what is being decoded ends in Outage."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in tuple(self._running):
            process.kill()
        self._threads.shutdown(wait=True)
        for process in tuple(self._running):
            self._end(process)

    def _decode(self, data: bytes, resave: int | None) -> Views:
        process = self._slots.get()
        try:
            if process is None or not process.usable:
                self._end(process)
                process = None
                process = self._start()
            return process.decode(data, resave)
        except CannotEvaluate as error:
            if self._closing.is_set() and error.reason == Reason.DECODER_CRASHED:
                raise Outage(PART, "the pool was closed") from error
            raise
        finally:
            self._slots.put(process)

    def _start(self) -> DecodeProcess:
        if self._closing.is_set():
            raise Outage(PART, "the pool was closed")
        process = DecodeProcess(self._views, self._limits, self._program)
        self._running.add(process)
        return process

    def _end(self, process: DecodeProcess | None) -> None:
        if process is not None:
            self._running.discard(process)
            process.close()
