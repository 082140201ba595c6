"""`pixassay bench`: how close the lane comes to what this machine can do, and what its parts gain."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from rich.console import Console

from models.bundle import load_bundle
from stream.bench.decoding import decode_rate, rates_by_kind
from stream.bench.lane import Figures, Sizes, measure_lane
from stream.bench.processor import cores, model_name
from stream.decode_pool import limits_of
from stream.demo_pictures import packaged_pictures
from stream.errors import PixassayError
from stream.settings import load_settings

QUICK, FULL = Sizes(lane=504, naive=40, rounds=2), Sizes(lane=1008, naive=100, rounds=5)
PREFIX = "trt_build.bench.prefix"
NO_TORCH = "needs torch, which is in the `train` extra: run `make dev` and use .venv-dev/bin/pixassay"


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="The core of it, in under 5 minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure the lane against its limit and against a naive loop; decode; the shared prefix.

    Broker, object store and database are started here, on the same cores, and removed at the end.
    """
    began = time.monotonic()
    report = measure(QUICK if quick else FULL, Console(stderr=True))
    report["seconds"] = round(time.monotonic() - began)
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        Console(soft_wrap=True).print_json(data=report)


def measure(sizes: Sizes, screen: Console) -> dict[str, Any]:
    """Everything, as one JSON-able object. Raises PixassayError where a part breaks off."""
    settings = load_settings()
    bundle, limits, pictures = load_bundle(settings.bundle), limits_of(settings), packaged_pictures()
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{model_name()}, {cores()} cores",
        "bundle": f"{bundle.manifest.name} {bundle.id}",
    }
    screen.print("decode and views ...")
    rate = decode_rate([picture.data for picture in pictures], bundle, limits)
    report["decode_images_per_core"] = round(rate, 1)
    kinds = rates_by_kind(pictures[0], bundle, limits)
    report["decode_images_per_core_by_kind"] = {kind: round(each, 1) for kind, each in kinds.items()}
    screen.print("shared prefix ...")
    report |= _shared_prefix()
    screen.print("lane, limit and naive loop in turn ...")
    return report | _lane(measure_lane(settings, pictures, sizes))


def _lane(figures: Figures) -> dict[str, Any]:
    limit = max((name for name in figures.laps if name.startswith("limit")), key=figures.rate)
    naive = "naive" in figures.laps
    return {
        "lane_over_limit": round(figures.ratio("lane", limit), 3),
        "lane_over_limit_by_cpu": round(
            figures.cpu_ms(limit) / (figures.cpu_ms("lane") + figures.servers_cpu_ms), 3
        ),
        "lane_over_naive": round(figures.ratio("lane", "naive"), 2) if naive else NO_TORCH,
        "limit_is": limit,
        "images_per_s": {name: [round(lap.rate, 1) for lap in laps] for name, laps in figures.laps.items()},
        "cpu_ms_per_image": {name: round(figures.cpu_ms(name), 1) for name in figures.laps},
        "servers_cpu_ms_per_image": round(figures.servers_cpu_ms, 1),
    }


def _shared_prefix() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {"shared_prefix_share": NO_TORCH, "openvino_over_torch": NO_TORCH}
    command = [sys.executable, "-P", "-m", PREFIX, "4", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:]
        raise PixassayError(f"the shared prefix could not be measured: {' '.join(last)}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    names = ("shared_prefix_share", "openvino_over_torch")
    return {**{name: found.pop(name) for name in names}, "shared_prefix": found}
