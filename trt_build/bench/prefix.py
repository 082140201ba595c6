"""What a shared prefix gains, and what OpenVINO gains over torch, on a transformer of ViT-B/16's size.

    arithmetic gain = 3 d / (s + 3 (d - s))      d blocks, of which s are shared by three detectors

The gain is measured against three graphs of one detector each, run one after the other. Weights are random:
they do not change the speed. Needs torch and OpenVINO. Prints one JSON object.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from models.ensemble import Branch, Ensemble
from models.spec import ViewSpec
from models.towers.vit import VitTower
from trt_build.export import export_onnx

VIEW = ViewSpec(name="global", kind="global", size=224)
DETECTORS = 3
DEPTH = 12
Batch = dict[str, NDArray[np.uint8]]


def ensemble(detectors: int, shared: int) -> Ensemble:
    """`detectors` heads on a tower of ViT-B/16's size, its first `shared` blocks common to all."""
    tower = VitTower(width=768, depth=DEPTH, heads=12, patch=16, joint=512)
    branches = [Branch(f"d{index}", tower, shared, "pooled") for index in range(detectors)]
    with torch.no_grad():
        for branch in branches:  # equal constants would be merged by the compiler
            for weight in branch.parameters():
                weight.mul_(1 + 0.01 * torch.randn(()))
    return Ensemble(tower, branches, [VIEW], [VIEW.name] * detectors).eval().requires_grad_(False)


def arithmetic_gain(depth: int, shared: int, detectors: int = DETECTORS) -> float:
    """Blocks of separate networks over blocks of the ensemble."""
    return detectors * depth / (shared + detectors * (depth - shared))


def interleaved(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, in turn, so that a busy machine meets all of them; after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(repeats + 1):
        for name, action in actions.items():
            began = time.perf_counter()
            action()
            if number:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


def compiled(network: Ensemble, batch: Batch, folder: Path) -> Callable[[], object]:
    """The network as OpenVINO runs it in a worker, on one thread; call it to score the batch."""
    file = folder / "graph.onnx"
    export_onnx(network, file)
    core = openvino.Core()
    model = core.read_model(file)
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer(batch, share_inputs=True)


def measure(size: int, repeats: int) -> dict[str, Any]:
    """Gains, and the images/s behind them, at batch `size` on one thread."""
    torch.set_num_threads(1)
    depth = DEPTH
    batch: Batch = {VIEW.name: np.random.default_rng(0).integers(0, 256, (size, 224, 224, 3), np.uint8)}
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    alone = ensemble(1, 0)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        one = compiled(alone, batch, folder)
        half, most = (compiled(ensemble(DETECTORS, s), batch, folder) for s in (depth // 2, depth * 3 // 4))
        with torch.inference_mode():
            seconds = interleaved(
                {
                    "separate": lambda: [one() for _ in range(DETECTORS)],
                    "half": half,
                    "three_quarters": most,
                    "torch": lambda: [alone(tensors) for _ in range(DETECTORS)],
                },
                repeats,
            )
    gains = {name: seconds["separate"] / seconds[name] for name in ("half", "three_quarters")}
    bounds = {
        "half": arithmetic_gain(depth, depth // 2),
        "three_quarters": arithmetic_gain(depth, depth * 3 // 4),
    }
    return {
        "shared_prefix_share": round(min(gains[name] / bounds[name] for name in gains), 3),
        "gain": {name: round(gain, 3) for name, gain in gains.items()},
        "arithmetic_gain": {name: round(bound, 3) for name, bound in bounds.items()},
        "openvino_over_torch": round(seconds["torch"] / seconds["separate"], 2),
        "images_per_s": {name: round(size / each, 2) for name, each in seconds.items()},
        "precision": "bf16"
        if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        else "f32",
        "batch": size,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))) + "\n")
