"""What a shared prefix gains, and what OpenVINO gains over torch, on a transformer of ViT-B's size.

    arithmetic gain = 3 d / (s + 3 (d - s))      d blocks, of which s are shared by three detectors

The gain is measured against three graphs of one detector each, run one after the other; all run on one
thread, in turn, and what counts is their CPU time: on a machine that is shared it tells more than a clock
on the wall, and on a quiet one it is the same. Weights are random: they do not change the speed. Needs
torch and OpenVINO. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from models.ensemble import Branch, Ensemble, Feature
from models.scoring import computes_bf16
from models.spec import ViewSpec
from models.towers.base import Tower
from models.towers.clip import empty_clip
from trt_build.export import export_onnx

VIEW = ViewSpec(name="global", kind="global", size=224)
DETECTORS = 3
DEPTH = 12  # blocks of a ViT-B
ALONE, TORCH = "separate", "torch"
Batch = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    patch: int  # pixels: 32 for ViT-B/32, 16 for ViT-B/16
    shared: tuple[int, ...]  # blocks, one ensemble each
    batch: int
    rounds: int


def ensemble(tower: Tower, heads: Mapping[str, Feature], shared: int, view: ViewSpec = VIEW) -> Ensemble:
    """Detectors by name, with what their heads read; the tower's first `shared` blocks are common to all."""
    branches = [Branch(name, tower, shared, feature) for name, feature in heads.items()]
    with torch.no_grad():
        for branch in branches:  # equal constants would be merged by the compiler
            for weight in branch.parameters():
                weight.mul_(1 + 0.01 * torch.randn(()))
    return Ensemble(tower, branches, [view], [view.name] * len(heads)).eval().requires_grad_(False)


def arithmetic_gain(depth: int, shared: int, detectors: int = DETECTORS) -> float:
    """Blocks of separate networks over blocks of the ensemble."""
    return detectors * depth / (shared + detectors * (depth - shared))


def interleaved(actions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each, round by round, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            began = time.process_time()
            action()
            if number:
                taken[name].append(time.process_time() - began)
    return taken


def gain(seconds: Mapping[str, Sequence[float]], name: str, over: str) -> float:
    """How many times faster `name` is than `over`: the median over the rounds."""
    return statistics.median(theirs / ours for ours, theirs in zip(seconds[name], seconds[over], strict=True))


def compiled(file: Path) -> Callable[[Batch], NDArray[np.float32]]:
    """A graph as OpenVINO runs it in a worker, in bf16 where the CPU computes in it, on one thread."""
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    request = core.compile_model(core.read_model(file), "CPU", settings).create_infer_request()

    def run(batch: Batch) -> NDArray[np.float32]:
        request.infer(batch, share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)

    return run


def exported(network: Ensemble, file: Path) -> Callable[[Batch], NDArray[np.float32]]:
    """The network as `compiled` runs it; its graph goes into `file`."""
    export_onnx(network, file)
    return compiled(file)


def measure(plan: Plan) -> dict[str, Any]:
    """Gains, and the images/s behind them, on one thread."""
    torch.set_num_threads(1)
    shape = (plan.batch, VIEW.size, VIEW.size, 3)
    batch: Batch = {VIEW.name: np.random.default_rng(0).integers(0, 256, shape, np.uint8)}
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    alone = _vit_b(plan.patch, 1, 0)
    with tempfile.TemporaryDirectory() as made, torch.inference_mode():
        file = Path(made) / "graph.onnx"
        one = exported(alone, file)
        likeness = _cosine(one(batch), alone(tensors).numpy())
        actions: dict[str, Callable[[], object]] = {
            ALONE: lambda: [one(batch) for _ in range(DETECTORS)],
            TORCH: lambda: [alone(tensors) for _ in range(DETECTORS)],
        }
        for shared in plan.shared:
            network = exported(_vit_b(plan.patch, DETECTORS, shared), file)
            actions[f"{shared} shared"] = partial(network, batch)
        seconds = interleaved(actions, plan.rounds)
    return {**_report(plan, seconds), "cosine_of_logits": likeness}


def _vit_b(patch: int, detectors: int, shared: int) -> Ensemble:
    """Detectors that all read the pooled features, on a tower of ViT-B's size."""
    heads: dict[str, Feature] = {f"d{index}": "pooled" for index in range(detectors)}
    return ensemble(empty_clip(f"clip-b{patch}"), heads, shared)


def _report(plan: Plan, seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    gains = {s: gain(seconds, f"{s} shared", ALONE) for s in plan.shared}
    bounds = {s: arithmetic_gain(DEPTH, s) for s in plan.shared}
    rates = {name: plan.batch / statistics.median(each) for name, each in seconds.items()}
    return {
        "shared_prefix_share": round(min(gains[s] / bounds[s] for s in plan.shared), 3),
        "openvino_over_torch": round(gain(seconds, ALONE, TORCH), 2),
        "network": f"ViT-B/{plan.patch}, {DEPTH} blocks, {DETECTORS} detectors",
        "gain": {str(s): round(each, 3) for s, each in gains.items()},
        "arithmetic_gain": {str(s): round(each, 3) for s, each in bounds.items()},
        "images_per_cpu_s": {name: round(each, 2) for name, each in rates.items()},
        "precision": "bf16" if computes_bf16() else "f32",
        "batch": plan.batch,
    }


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return round(float(a @ b / np.sqrt((a @ a) * (b @ b))), 6)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", type=int, choices=(16, 32), required=True)
    for name in ("batch", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--shared", type=int, nargs="+", required=True)
    given = parser.parse_args()
    found = measure(Plan(given.patch, tuple(given.shared), given.batch, given.rounds))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
