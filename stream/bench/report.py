"""What `pixassay bench` measured, as one JSON-able object; each part in the order in which it is run."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.bundle import Bundle, load_bundle
from stream.bench.arithmetic import matrix_gflops, network_gflop
from stream.bench.contestants import LANE, LIMIT, NAIVE
from stream.bench.decoding import decode_rate, rates_by_kind
from stream.bench.lane import Figures, Sizes, measure_lane
from stream.bench.processor import cores, model_name
from stream.bench.random_vit import RandomVit, serving
from stream.bench.torch_program import NO_TORCH, has_torch, output_of
from stream.decode_pool import limits_of
from stream.demo_pictures import Picture, packaged_pictures
from stream.engines.cpu_plan import measured_plan
from stream.engines.openvino import computes_bf16
from stream.settings import Settings, load_settings

PREFIX, ENGINES = "trt_build.bench.prefix", "trt_build.bench.engines"
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
    """Everything, with the bundle of the settings. Raises PixassayError where a part breaks off."""
    began = time.monotonic()
    settings, pictures = load_settings(), packaged_pictures()
    bundle = load_bundle(settings.bundle)
    report = _start(settings, bundle, pictures, extent.sizes, say)
    kinds = rates_by_kind(pictures[0], bundle, limits_of(settings))
    report["decode_images_per_core_by_kind"] = {kind: round(each, 1) for kind, each in kinds.items()}
    say("engines alone")
    report["engines"] = _engines([str(settings.bundle), *extent.engines])
    say("shared prefix")
    report |= _shared_prefix(extent.prefix)
    figures = measure_lane(settings, pictures, extent.sizes, say)
    report |= _lane(figures)
    say("arithmetic")
    report |= _arithmetic(bundle)
    report["seconds"] = round(time.monotonic() - began)
    return report


def measure_random(ensemble: RandomVit, sizes: Sizes, say: Say) -> Report:
    """The lane alone, with an ensemble of random weights. Raises PixassayError where a part breaks off."""
    began, pictures = time.monotonic(), packaged_pictures()
    say(f"exporting {ensemble}")
    with serving(ensemble) as settings:
        bundle = load_bundle(settings.bundle)
        report = _start(settings, bundle, pictures, sizes, say)
        report["precision"] = "bf16" if computes_bf16() else "f32"  # of the engine; the loop has float32
        report |= _lane(measure_lane(settings, pictures, sizes, say))
        say("arithmetic")
        report |= _arithmetic(bundle)
    report["seconds"] = round(time.monotonic() - began)
    return report


def _start(settings: Settings, bundle: Bundle, pictures: Sequence[Picture], sizes: Sizes, say: Say) -> Report:
    """What is measured where, how the engine runs, and how fast a core decodes."""
    report: Report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{cores()} cores of an {model_name()}",
        "bundle": f"{bundle.manifest.name} {bundle.id}",
        "rounds": sizes.rounds,
    }
    say("threads and batches of the engine")  # anew: what was kept may stem from a busier hour
    report["cpu_engine"] = str(measured_plan(bundle, cores(), settings.max_batch, settings.engines))
    say("decode and views")
    rate = decode_rate([picture.data for picture in pictures], bundle, limits_of(settings))
    report["decode_images_per_core"] = round(rate, 1)
    return report


def _arithmetic(bundle: Bundle) -> Report:
    return {
        "network_gflop_per_image": round(network_gflop(bundle.onnx), 2),
        "matrix_gflops_per_core": round(matrix_gflops(), 1),
    }


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
    return _measured(ENGINES, arguments) if has_torch() else NO_TORCH


def _shared_prefix(arguments: Sequence[str]) -> Report:
    if not has_torch():
        return {"shared_prefix_share": NO_TORCH, "openvino_over_torch": NO_TORCH}
    found = _measured(PREFIX, arguments)
    names = ("shared_prefix_share", "openvino_over_torch")
    return {**{name: found.pop(name) for name in names}, "shared_prefix": found}


def _measured(module: str, arguments: Sequence[str]) -> Report:
    found: Report = json.loads(output_of(module, arguments).splitlines()[-1])
    return found
