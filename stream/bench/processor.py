"""CPU seconds of processes, from /proc: what a wall clock on a shared machine cannot tell."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(processes: Iterable[int]) -> float:
    """User and system time that these processes, and their ended children, have taken so far."""
    return sum(_ticks(process) for process in processes) * _TICK_S


def family(root: int) -> set[int]:
    """`root` and all that descends from it and runs now."""
    parents = {int(folder.name): parent for folder in _PROC.glob("[0-9]*") if (parent := _parent(folder))}
    found, fresh = {root}, {root}
    while fresh:
        fresh = {process for process, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def resident_mb(processes: Iterable[int]) -> float:
    """Memory of these processes that is not shared with files, MiB."""
    pages = 0
    for process in processes:
        try:
            resident, shared = (_PROC / str(process) / "statm").read_text(encoding="ascii").split()[1:3]
        except OSError:
            continue  # it has ended
        pages += int(resident) - int(shared)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def model_name(cpuinfo: Path = _PROC / "cpuinfo") -> str:
    """The CPU as it names itself."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _ticks(process: int) -> int:
    """utime, stime, cutime and cstime of proc(5)."""
    try:
        fields = (_PROC / str(process) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return None
