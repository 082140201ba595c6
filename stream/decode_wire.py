"""How a decoding process and its parent speak: bodies on a socket, each behind 4 bytes of length.

First in: {"views": [...], "limits": {...}}. First out: an empty body, "ready". Then for each picture
in: one byte (0, or the JPEG quality of the copy to make of it first) and the file; out: a JSON header, a
line feed and (where it has "facts") the raw pixels of each view.
No pickles: a decoder that a hostile file took over can lie to its parent, but run nothing in it.
"""

import socket
import time


class WireError(Exception):
    """The other side is gone, or does not keep to the protocol."""


def send(connection: socket.socket, *parts: bytes | memoryview) -> None:
    """One body, in parts. Raises WireError, and TimeoutError where the socket has a time-out."""
    length = sum(map(len, parts))
    try:
        # In one piece: each send wakes the other side up.
        connection.sendall(b"".join((length.to_bytes(4, "big"), *parts)))
    except ConnectionError as error:
        raise WireError(str(error)) from error


def receive(connection: socket.socket, limit: int, deadline: float | None = None) -> bytearray:
    """One body of at most `limit` bytes.

    Raises WireError, and TimeoutError where it is not there by the deadline (time.monotonic).
    """
    length = int.from_bytes(_exactly(connection, 4, deadline), "big")
    if length > limit:
        raise WireError(f"{length} bytes announced, at most {limit} were expected")
    return _exactly(connection, length, deadline)


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytearray:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        if deadline is not None:
            connection.settimeout(max(deadline - time.monotonic(), 1e-3))
        try:
            got = connection.recv_into(view[filled:])
        except ConnectionError as error:
            raise WireError(str(error)) from error
        if not got:
            raise WireError("the other side is gone")
        filled += got
    return buffer
