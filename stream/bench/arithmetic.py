"""What a network asks of a core, beside what the core can do in float32."""

import math
import time
from pathlib import Path

import numpy as np
import openvino

_SIDE = 1024  # of the square matrices: their product keeps a core busy for tens of milliseconds
_TURNS = 12  # the best one counts, since others may use the machine meanwhile


def network_gflop(onnx: Path) -> float:
    """Floating-point operations of one picture in convolutions and matrix products, two a multiply-add, 1e9.

    int8 graphs count as float ones: it is the same products.
    """
    model = openvino.Core().read_model(onnx)
    model.reshape({each: [1, *list(each.partial_shape)[1:]] for each in model.inputs})
    return sum(_operations(node) for node in model.get_ops()) / 1e9


def _operations(node: openvino.Node) -> int:
    """2 x outputs x terms of the sum behind each; 0 for what is no product."""
    kind = node.get_type_name()
    outputs: int = math.prod(node.output(0).shape) if node.outputs() else 0
    if kind == "Convolution":  # weights [O, I, H, W]
        return 2 * outputs * int(math.prod(list(node.input_value(1).shape)[1:]))
    if kind == "GroupConvolution":  # weights [G, O, I, H, W]
        return 2 * outputs * int(math.prod(list(node.input_value(1).shape)[2:]))
    if kind == "MatMul":
        left: list[int] = list(node.input_value(0).shape)
        return 2 * outputs * left[-2 if node.get_attributes()["transpose_a"] else -1]
    return 0


def matrix_gflops() -> float:
    """1e9 operations a CPU second of a product of float32 matrices, by numpy's BLAS."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((_SIDE, _SIDE), np.float32) for _ in range(2))
    times = []
    for _ in range(_TURNS):
        began = time.process_time()
        one @ other
        times.append(time.process_time() - began)
    return 2 * _SIDE**3 / min(times) / 1e9
