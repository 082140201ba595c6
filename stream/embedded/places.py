"""Free loopback ports and temporary folders for the embedded servers."""

import fcntl
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import ConfigError

LOOPBACK = "127.0.0.1"
_PREFIX = "pixassay-"
_LOCK = ".lock"
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000
_ABANDONED_S = 60.0


class Ports:
    """Loopback ports kept for our servers until `close`, also while a server is stopped.

    Each is bound without listening. A server that binds with SO_REUSEADDR, as all of ours do, may
    listen there; a plain bind, as another run of this function makes, may not. The ports lie below
    the range of outgoing connections: from inside it, a client that keeps calling a stopped server
    could be given the server's own port, connect to itself and keep the server from coming back.
    """

    def __init__(self, count: int) -> None:
        self._held: list[socket.socket] = []
        highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
        candidates = range(_LOWEST, max(highest, _LOWEST + 1_000))
        for port in random.sample(candidates, 1_000):
            if len(self._held) == count:
                return
            self._try(port)
        self.close()
        raise ConfigError(f"no {count} free ports on {LOOPBACK} between {_LOWEST} and {highest}")

    @property
    def numbers(self) -> list[int]:
        return [int(held.getsockname()[1]) for held in self._held]

    def _try(self, port: int) -> None:
        probe = socket.socket()
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            probe.close()
            return
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.append(probe)

    def close(self) -> None:
        """Give the ports back."""
        while self._held:
            self._held.pop().close()


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder that is removed at the end. One left by a killed process goes the next time.

    Others may pass through it (a server may run as another user) but not list it.
    """
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-"))
    folder.chmod(0o711)
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when we die
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove folders whose maker is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = folder / _LOCK
        try:
            if time.time() - lock.stat().st_mtime < _ABANDONED_S:
                continue  # its maker may not hold the lock yet
            with lock.open("r+") as held:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # in use, not ours, or just removed by another
