"""Processor time: what a figure would be with the machine to itself. Others' work does not change it much."""

import os
import time
from pathlib import Path

import sqlalchemy as sa

from stream.database import connect

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_BACKENDS = sa.text(
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database()"
)


class Processor:
    """Seconds that this process and the server's sessions on one database have computed."""

    def __init__(self, url: str) -> None:
        self._engine = connect(url)

    def spent_s(self) -> float | None:
        """Since their start, without sessions that ended. None where the server is not on this machine."""
        server = self.server_s()
        return None if server is None else time.process_time() + server

    def server_s(self) -> float | None:
        """The same of the server's sessions alone."""
        with self._engine.connect() as connection:
            processes = connection.scalars(_BACKENDS).all()
        files = [Path("/proc") / str(pid) / "stat" for pid in processes]
        if not all(file.exists() and "(postgres)" in file.read_text("utf-8") for file in files):
            return None
        return sum(_ticks(file) for file in files) * _TICK_S

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def _ticks(stat: Path) -> int:
    fields = stat.read_text("utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime, see proc(5)
