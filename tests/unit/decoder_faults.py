"""A decoding process that does to itself what a hostile file might do to a decoder.

Run by tests through DecodePool's `program`. Data that starts with a fault's name provokes it;
everything else is decoded as usual.
"""

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.spec import ViewSpec
from stream import decode_child
from stream.decode import Limits, decode
from stream.types import Views


def faulty(data: bytes, views: Sequence[ViewSpec], limits: Limits, resave: int | None = None) -> Views:
    """`decode`, or the fault that the data asks for."""
    match data.split(b" ")[0]:
        case b"hang":
            while True:
                time.sleep(60)
        case b"spin":
            while True:
                pass
        case b"segfault":
            ctypes.string_at(0)
        case b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"exit":
            os._exit(3)
        case b"defect":
            raise ZeroDivisionError("a defect of ours")
        case b"memory":
            np.ones(2 << 30, np.uint8)
        case b"lie":  # too few pixels
            made = decode(data.removeprefix(b"lie "), views, limits)
            return replace(made, arrays={name: array[:, :1] for name, array in made.arrays.items()})
        case b"shout":  # an endless answer
            made = decode(data.removeprefix(b"shout "), views, limits)
            long = {name: np.repeat(array, 50, axis=0) for name, array in made.arrays.items()}
            return replace(made, arrays=long)
    return decode(data, views, limits, resave)


def main(descriptor: int) -> None:
    """As decode_child.main, with `faulty` in the place of `decode`."""
    decode_child.decode = faulty  # type: ignore[attr-defined]
    decode_child.main(descriptor)
