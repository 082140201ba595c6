"""How the CPU engine uses the cores: one batch on all of them or a batch a core, small batches or large ones.

Which is faster depends on the network, the CPU and its neighbours: a batch on several threads waits for the
slowest of them at every layer; a large batch reads the weights once for many pictures, but what a
convolutional network holds of it between two layers fits in no cache. Measured once, then kept.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from models.bundle import Bundle
from stream.engines.openvino import OpenVinoEngine

log = logging.getLogger(__name__)

SMALL, LARGE = 4, 16  # pictures; from `LARGE` on rates hardly change, so that it stands for all larger ones
_TURN_S = 0.25  # of each plan at a time, and at least one batch
_TURNS = 2  # of each plan that an engine serves, before it makes room for the next engine
_ENOUGH_S = 15.0  # of measuring; an engine's further turns may take its share, and then none comes again


@dataclass(frozen=True, slots=True)
class Plan:
    """Threads in all, batches at a time that share them, and the most pictures of a batch."""

    threads: int
    streams: int
    batch: int

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.streams} batches at a time of up to {self.batch}"


def best_plan(bundle: Bundle, cores: int, max_batch: int, folder: Path) -> Plan:
    """The fastest plan for this bundle here: from `folder` where it was measured before, else measured."""
    return _read(_file(bundle, cores, max_batch, folder)) or measured_plan(bundle, cores, max_batch, folder)


def measured_plan(bundle: Bundle, cores: int, max_batch: int, folder: Path) -> Plan:
    """The fastest plan, measured now, and kept for `best_plan`."""
    rates = measure(bundle, plans(cores, max_batch))
    best = max(rates, key=lambda plan: rates[plan])
    log.info("measured %s", "; ".join(f"{plan}: {rate:.1f} images/s" for plan, rate in rates.items()))
    _write(_file(bundle, cores, max_batch, folder), best)
    return best


def plans(cores: int, max_batch: int) -> list[Plan]:
    """What is tried, each once."""
    return [
        Plan(cores, streams, batch)
        for streams in sorted({1, cores})
        for batch in sorted({min(SMALL, max_batch), max_batch})
    ]


def measure(bundle: Bundle, tried: list[Plan]) -> Mapping[Plan, float]:
    """Pictures a second of each plan, in its best turn, since others may use the machine meanwhile.

    One engine is in memory at a time: of three ViT-L/14, each takes gigabytes. It serves every batch of its
    streams; how large a batch it would take changes no rate. The engines come a second time in reverse, as
    far as time allows: load that grows or fades meanwhile then favours none of them. Compiling again is
    what that costs, and it is little beside the turns.
    """
    engines = [list(plans) for _, plans in groupby(tried, key=lambda plan: (plan.threads, plan.streams))]
    rates, began = dict.fromkeys(tried, 0.0), time.perf_counter()
    for index, served in enumerate([*engines, *reversed(engines)]):
        if index >= len(engines) and time.perf_counter() - began > _ENOUGH_S:
            break
        for plan, rate in _rates(bundle, served, _ENOUGH_S / len(engines) / 2).items():
            rates[plan] = max(rates[plan], rate)
    return rates


def _rates(bundle: Bundle, served: list[Plan], enough_s: float) -> Mapping[Plan, float]:
    """Of plans that differ in the batch alone, on one engine that goes when this returns."""
    batch = max(plan.batch for plan in served)
    engine = OpenVinoEngine(bundle, served[0].threads, batch, served[0].streams)
    views = {plan: _noise(bundle, min(plan.batch, LARGE)) for plan in served}
    rates, began = dict.fromkeys(served, 0.0), time.perf_counter()
    for turn in range(_TURNS):
        if turn and time.perf_counter() - began > enough_s:
            break
        for plan in served:
            rates[plan] = max(rates[plan], _rate(engine, views[plan]))
    return rates


def _noise(bundle: Bundle, count: int) -> Mapping[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return {
        view.name: rng.integers(0, 256, (count, view.size, view.size, 3), np.uint8)
        for view in bundle.manifest.views
    }


def _rate(engine: OpenVinoEngine, views: Mapping[str, NDArray[np.uint8]]) -> float:
    """Pictures a second that all callers together get through in a while."""
    size = len(next(iter(views.values())))
    began = time.perf_counter()

    def call() -> int:
        count = 0
        while count == 0 or time.perf_counter() - began < _TURN_S:
            engine.score(views)
            count += 1
        return count

    with ThreadPoolExecutor(engine.callers) as pool:
        counts = [each.result() for each in [pool.submit(call) for _ in range(engine.callers)]]
    return size * sum(counts) / (time.perf_counter() - began)


def _file(bundle: Bundle, cores: int, max_batch: int, folder: Path) -> Path:
    """Named after everything that the answer depends on."""
    facts = (bundle.id, cores, max_batch, _cpu(), openvino.__version__)
    return folder.expanduser() / f"cpu-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.json"


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
        return Plan(int(found["threads"]), int(found["streams"]), int(found["batch"]))
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
