"""How the CPU engine uses the cores: one batch on all of them, or a batch a core. Measured once, then kept.

Which is faster depends on the network, the CPU and its neighbours: a batch on several threads waits for the
slowest of them at every layer, batches of their own wait for nobody but share the caches.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from models.bundle import Bundle
from stream.engines.openvino import OpenVinoEngine

log = logging.getLogger(__name__)

_BATCH = 4  # pictures: small, so that the measurement is short; rates hardly change from there on
_TURN_S = 0.25  # of each plan in each round
_ROUNDS = 4  # in turn, so that a busy machine meets all plans alike


@dataclass(frozen=True, slots=True)
class Plan:
    """Threads in all, and the batches at a time that share them."""

    threads: int
    streams: int

    def __str__(self) -> str:
        return f"threads: {self.threads}, batches at a time: {self.streams}"


def best_plan(bundle: Bundle, cores: int, folder: Path) -> Plan:
    """The fastest plan for this bundle here: from `folder` where it was measured before, else measured."""
    if cores == 1:
        return Plan(1, 1)
    file = folder.expanduser() / f"cpu-{_key(bundle, cores)}.json"
    known = _read(file)
    if known is not None:
        return known
    rates = measure(bundle, [Plan(cores, 1), Plan(cores, cores)])
    best = max(rates, key=lambda plan: rates[plan])
    log.info("measured %s", "; ".join(f"{plan}: {rate:.1f} images/s" for plan, rate in rates.items()))
    _write(file, best)
    return best


def measure(bundle: Bundle, plans: list[Plan]) -> Mapping[Plan, float]:
    """Pictures a second of each plan."""
    rng = np.random.default_rng(0)
    views = {
        view.name: rng.integers(0, 256, (_BATCH, view.size, view.size, 3), np.uint8)
        for view in bundle.manifest.views
    }
    engines = {plan: OpenVinoEngine(bundle, plan.threads, _BATCH, plan.streams) for plan in plans}
    batches, seconds = dict.fromkeys(plans, 0), dict.fromkeys(plans, 0.0)
    for turn in range(_ROUNDS + 1):
        for plan, engine in engines.items():
            done, taken = _run(engine, views)
            if turn:  # the first warms up
                batches[plan] += done
                seconds[plan] += taken
    return {plan: _BATCH * batches[plan] / seconds[plan] for plan in plans}


def _run(engine: OpenVinoEngine, views: Mapping[str, NDArray[np.uint8]]) -> tuple[int, float]:
    """Batches that all callers together get through in a while, and the seconds."""
    began = time.perf_counter()

    def call() -> int:
        count = 0
        while count == 0 or time.perf_counter() - began < _TURN_S:
            engine.score(views)
            count += 1
        return count

    with ThreadPoolExecutor(engine.callers) as pool:
        counts = [each.result() for each in [pool.submit(call) for _ in range(engine.callers)]]
    return sum(counts), time.perf_counter() - began


def _key(bundle: Bundle, cores: int) -> str:
    """Everything that the answer depends on."""
    facts = (bundle.id, cores, _cpu(), openvino.__version__)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _cpu() -> str:
    """The CPU's name and abilities; "" where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    wanted = ("model name", "flags")
    return "\n".join(next((line for line in lines if line.startswith(word)), "") for word in wanted)


def _read(file: Path) -> Plan | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Plan(int(found["threads"]), int(found["streams"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None  # not measured yet, or written by another version: it is measured again


def _write(file: Path, plan: Plan) -> None:
    """In one step: workers that start together measure the same, and none reads half a file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        log.info("the measured plan cannot be kept (%s): every start measures again", error)
