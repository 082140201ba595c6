"""The decoding process: the only place where bytes of strangers meet native decoders.

It serves one socket (see decode_wire) until its parent closes it.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from models.allocator import keep_freed_memory
from models.spec import ViewSpec
from models.views import make_ready
from stream.decode import Limits, decode
from stream.decode_wire import WireError, receive, send
from stream.errors import CannotEvaluate, NotApplicable
from stream.reasons import Reason
from stream.types import Views

# Seconds beyond the time-out after which a decoder ends itself: only one whose parent was killed gets there.
_ORPHAN_S = 5.0
_NO_LIMIT = 2**32  # the parent is trusted


def main(descriptor: int) -> None:
    """Serve the socket with this descriptor."""
    _quiet_libraries()
    keep_freed_memory()
    with socket.socket(fileno=descriptor) as connection:
        fields = orjson.loads(receive(connection, _NO_LIMIT))
        views = [ViewSpec.model_validate(view) for view in fields["views"]]
        limits = Limits(**fields["limits"])
        make_ready(views)
        _limit_memory(limits.memory_mb)
        try:
            send(connection, b"")
            while True:
                body = memoryview(receive(connection, _NO_LIMIT))
                data, resave = bytes(body[1:]), body[0] or None
                signal.setitimer(signal.ITIMER_REAL, limits.timeout_s + _ORPHAN_S)
                send(connection, *_answer(data, views, limits, resave))
                signal.setitimer(signal.ITIMER_REAL, 0)
        except WireError:
            return  # the parent has closed the pool, or is gone


def _answer(
    data: bytes, views: Sequence[ViewSpec], limits: Limits, resave: int | None
) -> list[bytes | memoryview]:
    try:
        return _encoded(decode(data, views, limits, resave))
    except CannotEvaluate as error:
        return _refusal(not isinstance(error, NotApplicable), error.reason, error.detail)
    except MemoryError:
        return _refusal(True, Reason.DECODER_CRASHED, f"it needs more than {limits.memory_mb} MiB")


def _refusal(applicable: bool, reason: Reason, detail: str) -> list[bytes | memoryview]:
    return [orjson.dumps({"applicable": applicable, "reason": reason, "detail": detail}), b"\n"]


def _encoded(made: Views) -> list[bytes | memoryview]:
    facts = made.facts
    header = {
        "facts": [facts.format, facts.width, facts.height, facts.frames],
        "faces": made.faces.tolist(),
    }
    return [orjson.dumps(header), b"\n", *(array.data.cast("B") for array in made.arrays.values())]


def _limit_memory(memory_mb: int) -> None:
    """So much beyond what the interpreter and its libraries hold already, and no core files."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    ceiling = pages * resource.getpagesize() + memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _quiet_libraries() -> None:
    """Native decoders print their complaints to descriptor 2; Python's own tracebacks still get out."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.close(quiet)
