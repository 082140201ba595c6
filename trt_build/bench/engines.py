"""Engines alone on one bundle: pictures a CPU second by engine and batch, and how many times torch's.

torch runs each detector as a network of its own in float32, as people do before they export anything; the
engines run the bundle's graph, with what is shared computed once. All run on one thread, in turn, and CPU
time counts (`trt_build.bench.prefix`). Needs torch and OpenVINO. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bundle import Bundle, load_bundle
from models.scoring import computes_bf16, open_engine
from trt_build.bench.prefix import Batch, gain, interleaved
from trt_build.bench.separate import separate_detectors

TORCH = "torch, detectors apart, f32"


def measure(bundle: Bundle, batches: Sequence[int], rounds: int) -> dict[str, Any]:
    """By engine: `images_per_cpu_s` and `over_torch`, each by batch."""
    torch.set_num_threads(1)
    runs = _engines(bundle)
    rates: dict[str, dict[str, float]] = {name: {} for name in runs}
    gains: dict[str, dict[str, float]] = {name: {} for name in runs}
    with torch.inference_mode():
        for size in batches:
            views = _noise(bundle, size)
            seconds = interleaved({name: _call(run, views) for name, run in runs.items()}, rounds)
            for name, taken in seconds.items():
                rates[name][str(size)] = round(size / statistics.median(taken), 1)
                gains[name][str(size)] = round(gain(seconds, name, TORCH), 2)
    return {"images_per_cpu_s": rates, "over_torch": gains}


def _engines(bundle: Bundle) -> dict[str, Callable[[Batch], object]]:
    """torch first: the others are measured by it."""
    detectors, quantisation = separate_detectors(bundle.manifest), bundle.manifest.quantisation
    products = quantisation.precision if quantisation else "f32"
    engines: dict[str, Callable[[Batch], object]] = {
        TORCH: lambda batch: [
            detector({name: torch.from_numpy(batch[name]) for name in detector.views})
            for detector in detectors
        ],
        f"ONNX Runtime, {products}": open_engine(bundle, "onnxruntime"),
        f"OpenVINO, {products}": open_engine(bundle, "openvino"),
    }
    if computes_bf16() and not quantisation:
        engines["OpenVINO, bf16"] = open_engine(bundle, "openvino-bf16")
    return engines


def _call(run: Callable[[Batch], object], views: Batch) -> Callable[[], object]:
    return lambda: run(views)


def _noise(bundle: Bundle, count: int) -> Batch:
    rng = np.random.default_rng(0)
    return {
        view.name: rng.integers(0, 256, (count, view.size, view.size, 3), np.uint8)
        for view in bundle.manifest.views
    }


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    given = parser.parse_args()
    found: Mapping[str, Any] = measure(load_bundle(given.bundle), given.batch, given.rounds)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
