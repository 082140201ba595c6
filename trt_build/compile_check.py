"""Compiles the GPU graphs where there is no GPU: TensorRT-RTX, ahead of time, for named architectures.

It checks that TensorRT reads every node, that the types agree (strong typing) and that kernels are found. It
runs nothing, and TensorRT proper has other kernels: numbers come from `verify`, speed from a GPU.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from models.engine_file import Precision
from trt_build.eight_bits import has_fp8
from trt_build.network import BatchRange, CompileFault, parse
from trt_build.precision import in_precision

TARGETS = ("SM80", "SM89")  # A100, L4
WITHOUT_FP8 = frozenset({"SM80"})
BATCHES = BatchRange(1, 32, 64)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A graph that TensorRT takes."""

    nodes: int
    seconds: float
    plan_bytes: int
    targets: tuple[str, ...]
    warnings: tuple[str, ...]


def compile_check(
    graph: onnx.ModelProto, precision: Precision = "f16", targets: Sequence[str] = TARGETS
) -> Compiled:
    """Compile a graph, what is float32 of it in `precision`, for GPU architectures.

    A graph with FP8 is compiled for those that have it. Raises CompileFault.
    """
    started = time.perf_counter()
    trt = _tensorrt_rtx()
    able = tuple(target for target in targets if not (target in WITHOUT_FP8 and has_fp8(graph)))
    if not able:
        raise CompileFault(f"{' and '.join(targets)} cannot compute in FP8, which begins with SM89")
    narrowed = in_precision(graph, precision)
    nodes = len(narrowed.graph.node)
    network = parse(trt, narrowed)
    del narrowed  # the parser has its own copy
    config = network.config([BATCHES])  # no timing cache: that would look for a GPU
    config.num_compute_capabilities = len(able)
    for index, target in enumerate(able):
        config.set_compute_capability(getattr(trt.ComputeCapability, target), index)
    plan = network.build(config)
    return Compiled(nodes, time.perf_counter() - started, len(plan), able, tuple(network.log.warnings))


def large_ensemble(blocks: int = 24) -> onnx.ModelProto:
    """Three detectors on ViT-L/14 with random weights; three quarters of the blocks are shared.

    `blocks` below 24 cuts the tower short. Needs torch.
    """
    import torch

    from models.ensemble import Branch, Ensemble
    from models.spec import ViewSpec
    from models.towers.vit import VitTower
    from trt_build.export import export_graph
    from trt_build.halve import round_weights

    tower, shared = VitTower(depth=blocks), blocks * 3 // 4
    branches = [
        Branch("pin_clip", tower, shared, "joint"),
        Branch("dgs_net", tower, shared, "joint"),
        Branch("masm", tower, shared, "pooled"),
    ]
    with torch.no_grad():
        for branch in branches:  # else TensorRT would find them equal and compute one
            for weight in branch.parameters():
                weight.mul_(1 + 0.01 * torch.randn(()))
    views = [
        ViewSpec(name="global", kind="global", size=224),
        ViewSpec(name="mosaic", kind="mosaic", size=224),
    ]
    ensemble = Ensemble(tower, branches, views, ["global", "mosaic", "global"])
    round_weights(ensemble)
    return export_graph(ensemble, views)


def _tensorrt_rtx() -> Any:
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise CompileFault("tensorrt-rtx is not installed: install pixassay's `check` extra") from error
    return tensorrt_rtx
