"""One decoding process, seen from its parent: start it, hand it a picture, end it."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.spec import ViewSpec
from stream.decode import Limits
from stream.decode_wire import WireError, receive, send
from stream.errors import CannotEvaluate, NotApplicable, Outage
from stream.reasons import Reason
from stream.types import PictureFacts, Views

PART = "decoder"
_START_S = 60.0  # a loaded machine reads the interpreter and its libraries from a cold disk
_HEADER_BYTES = 64 * 1024
# Started by hand instead of by multiprocessing, which would run the parent's main module once more.
# One BLAS thread: the pool has one process a core already.
_BOOT = (
    "import os, sys; os.putenv('OPENBLAS_NUM_THREADS', '1'); sys.path[:] = sys.argv[3:]; "
    "import importlib; importlib.import_module(sys.argv[1]).main(int(sys.argv[2]))"
)


class DecodeProcess:
    """Serves one picture at a time, for one thread at a time; only `kill` may come from another."""

    def __init__(self, views: Sequence[ViewSpec], limits: Limits, program: str) -> None:
        """Start it without waiting for it. Raises Outage where the system refuses a new process."""
        self._views, self._limits = views, limits
        pixels = sum(view.size * view.size * 3 for view in views)
        self._largest = _HEADER_BYTES + limits.sample_frames * pixels
        self._ready = False
        self._usable = True
        try:
            self._connection, theirs = socket.socketpair()
            with theirs:
                self._process = _popen(program, theirs.fileno())
        except OSError as error:
            raise Outage(PART, f"no decoding process can be started: {error}") from error
        fields = {"views": [view.model_dump() for view in views], "limits": asdict(limits)}
        with contextlib.suppress(WireError):  # a process that is dead already is found by `decode`
            send(self._connection, orjson.dumps(fields))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can take another picture."""
        return self._usable and self._process.poll() is None

    def decode(self, data: bytes, resave: int | None = None) -> Views:
        """The views of one picture, or of its copy saved once more as JPEG of quality `resave`.

        Raises CannotEvaluate and NotApplicable as `stream.decode.decode` does; CannotEvaluate with
        decode_timeout or decoder_crashed, after which it is not usable any more; and Outage where
        it never got ready.
        """
        self._await_ready()
        deadline = time.monotonic() + self._limits.timeout_s
        self._usable = False
        try:
            self._connection.settimeout(self._limits.timeout_s)
            send(self._connection, bytes([resave or 0]), data)
            made = self._answer(deadline)
        except TimeoutError as error:
            self.kill()
            detail = f"not decoded within {self._limits.timeout_s:g} s"
            raise CannotEvaluate(Reason.DECODE_TIMEOUT, detail) from error
        except (WireError, ValueError, LookupError, TypeError) as error:
            raise CannotEvaluate(Reason.DECODER_CRASHED, f"{self._end()}: {error}") from error
        self._usable = True
        if isinstance(made, CannotEvaluate):
            raise made
        return made

    def kill(self) -> None:
        """End it now; the thread that waits for its answer sees it go."""
        self._process.kill()

    def close(self) -> None:
        """End it and release what it holds here."""
        self._usable = False
        self.kill()
        self._process.wait()
        self._connection.close()

    def _await_ready(self) -> None:
        if self._ready:
            return
        try:
            receive(self._connection, 0, time.monotonic() + _START_S)
        except (WireError, TimeoutError) as error:
            self._usable = False
            raise Outage(PART, f"the decoding process did not start; {self._end()}") from error
        self._ready = True

    def _answer(self, deadline: float) -> Views | CannotEvaluate:
        """Its answer, checked: it read a hostile file and is not trusted. Raises what is wrong with it."""
        body = receive(self._connection, self._largest, deadline)
        end = body.index(b"\n")
        header = orjson.loads(body[:end])
        if "facts" not in header:
            kind = CannotEvaluate if header["applicable"] else NotApplicable
            return kind(Reason(header["reason"]), str(header["detail"]))
        name, width, height, frames = header["facts"]
        facts = PictureFacts(str(name), int(width), int(height), int(frames))
        arrays = self._arrays(np.frombuffer(body, np.uint8, offset=end + 1))
        faces = np.array([bool(face) for face in header["faces"]])
        if len(faces) != len(next(iter(arrays.values()))):
            raise ValueError(f"{len(faces)} frames are said to show a face or none")
        return Views(facts, arrays, faces)

    def _arrays(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.uint8]]:
        sizes = [view.size * view.size * 3 for view in self._views]
        frames, rest = divmod(len(pixels), sum(sizes))
        if rest or not 1 <= frames <= self._limits.sample_frames:
            raise ValueError(f"{len(pixels)} bytes of pixels are no whole number of frames")
        arrays, start = {}, 0
        for view, size in zip(self._views, sizes, strict=True):
            part = pixels[start : start + frames * size]
            arrays[view.name] = part.reshape(frames, view.size, view.size, 3)
            start += frames * size
        return arrays

    def _end(self) -> str:
        """How it ended, in words."""
        self.kill()
        code = self._process.wait()
        if code in (0, -signal.SIGKILL):
            return "the decoding process was ended"
        if code < 0:
            return f"the decoding process died of {signal.Signals(-code).name}"
        return f"the decoding process ended with code {code}"


def _popen(program: str, descriptor: int) -> "subprocess.Popen[Any]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, program, str(descriptor), *sys.path],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C goes to the parent alone, which ends it in its own time
    )
