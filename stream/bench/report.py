"""What `pixassay bench` measured, as one JSON-able object; each part in the order in which it is run."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from models.bundle import load_bundle
from stream.bench.arithmetic import matrix_gflops, network_gflop
from stream.bench.contestants import LANE, LIMIT, NAIVE
from stream.bench.decoding import decode_rate, rates_by_kind
from stream.bench.lane import Figures, Sizes, measure_lane
from stream.bench.processor import cores, model_name
from stream.decode_pool import limits_of
from stream.demo_pictures import packaged_pictures
from stream.engines.cpu_plan import measured_plan
from stream.errors import PixassayError
from stream.settings import load_settings

PREFIX, ENGINES = "trt_build.bench.prefix", "trt_build.bench.engines"
NO_TORCH = "needs torch, which is in the `train` extra: run `make dev` and use .venv-dev/bin/pixassay"
Say = Callable[[str], None]
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    sizes: Sizes
    prefix: Sequence[str]  # arguments of trt_build.bench.prefix
    engines: Sequence[str]  # of trt_build.bench.engines, behind the bundle


def quick(rounds: int) -> Extent:
    """The core of it: ViT-B/32 with nine blocks shared."""
    prefix = ("--patch", "32", "--shared", "9", "--batch", "4", "--rounds", "3")
    sizes = Sizes(lane=384, naive=32, rounds=rounds, paced=150, backlog=0)
    return Extent(sizes, prefix, ("--batch", "1", "4", "--rounds", "3"))


def full(rounds: int) -> Extent:
    """With ViT-B/16, six and nine blocks shared, and a worker with 100,000 uploads before it."""
    prefix = ("--patch", "16", "--shared", "6", "9", "--batch", "2", "--rounds", "3")
    sizes = Sizes(lane=504, naive=40, rounds=rounds, paced=300, backlog=100_000)
    return Extent(sizes, prefix, ("--batch", "1", "4", "16", "--rounds", "5"))


def measure(extent: Extent, say: Say) -> Report:
    """Everything. Raises PixassayError where a part breaks off."""
    began = time.monotonic()
    settings = load_settings()
    bundle, limits, pictures = load_bundle(settings.bundle), limits_of(settings), packaged_pictures()
    report: Report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{cores()} cores of an {model_name()}",
        "bundle": f"{bundle.manifest.name} {bundle.id}",
        "rounds": extent.sizes.rounds,
    }
    say("threads and batches of the engine")  # anew: what was kept may stem from a busier hour
    plan = measured_plan(bundle, cores(), settings.max_batch, settings.engines)
    report["cpu_engine"] = str(plan)
    say("decode and views")
    rate = decode_rate([picture.data for picture in pictures], bundle, limits)
    kinds = rates_by_kind(pictures[0], bundle, limits)
    report["decode_images_per_core"] = round(rate, 1)
    report["decode_images_per_core_by_kind"] = {kind: round(each, 1) for kind, each in kinds.items()}
    say("engines alone")
    report["engines"] = _engines([str(settings.bundle), *extent.engines])
    say("shared prefix")
    report |= _shared_prefix(extent.prefix)
    figures = measure_lane(settings, pictures, extent.sizes, say)
    report |= _lane(figures)
    say("arithmetic")
    report["network_gflop_per_image"] = round(network_gflop(bundle.onnx), 2)
    report["matrix_gflops_per_core"] = round(matrix_gflops(), 1)
    report["seconds"] = round(time.monotonic() - began)
    return report


def _lane(figures: Figures) -> Report:
    naive = NAIVE in figures.laps
    spent = figures.cpu_ms(LANE) + figures.servers_cpu_ms
    return {
        "lane_over_limit": round(figures.ratio(LANE, LIMIT), 3),
        "lane_over_limit_by_cpu": round(figures.cpu_ms(LIMIT) / spent, 3),
        "lane_over_naive": round(figures.ratio(LANE, NAIVE), 2) if naive else NO_TORCH,
        "images_per_s": {name: round(figures.rate(name), 1) for name in figures.laps},
        "images_per_s_by_round": {
            n: [round(lap.rate, 1) for lap in laps] for n, laps in figures.laps.items()
        },
        "cpu_ms_per_image": {name: round(figures.cpu_ms(name), 1) for name in figures.laps},
        "servers_cpu_ms_per_image": round(figures.servers_cpu_ms, 1),
        "latency_ms_at_half_load": {f"p{at}": round(each) for at, each in figures.latency_ms.items()},
        "worker_memory_mb": {name: round(each) for name, each in figures.memory_mb.items()},
    }


def _engines(arguments: Sequence[str]) -> Report | str:
    return _measured(ENGINES, arguments) if find_spec("torch") else NO_TORCH


def _shared_prefix(arguments: Sequence[str]) -> Report:
    if find_spec("torch") is None:
        return {"shared_prefix_share": NO_TORCH, "openvino_over_torch": NO_TORCH}
    found = _measured(PREFIX, arguments)
    names = ("shared_prefix_share", "openvino_over_torch")
    return {**{name: found.pop(name) for name in names}, "shared_prefix": found}


def _measured(module: str, arguments: Sequence[str]) -> Report:
    """What a program with torch prints: a process of its own, since the service has none."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:]
        raise PixassayError(f"{module} broke off: {' '.join(last)}")
    found: Report = json.loads(ended.stdout.splitlines()[-1])
    return found
