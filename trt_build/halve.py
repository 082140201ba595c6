"""Half the size of a graph on disk: large weights stored as float16, computed in float32.

Every engine widens such constants once, when it loads the graph. The weights are rounded before
the graph is written, so torch, ONNX and the golden logits all speak of the same numbers.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SMALLEST = 256  # elements: below, a Cast costs more than it saves


@torch.no_grad()
def round_weights(module: nn.Module) -> None:
    """Round every floating weight and buffer of `SMALLEST` elements and more to float16 precision."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and tensor.numel() >= SMALLEST:
            tensor.copy_(tensor.half().float())


def round_constants(graph: onnx.ModelProto) -> None:
    """`round_weights` for a graph that was not exported from a module here."""
    for weight in graph.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= SMALLEST:
            rounded = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))


def halve(graph: onnx.ModelProto) -> None:
    """Store each large float32 initialiser that is exact in float16 as such, followed by a Cast."""
    casts = []
    for weight in graph.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALLEST:
            continue
        values = numpy_helper.to_array(weight)
        halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halved, f"{name}.f16"))
        casts.append(
            helper.make_node("Cast", [f"{name}.f16"], [name], name=f"{name}.widen", to=TensorProto.FLOAT)
        )
    for node in reversed(casts):
        graph.graph.node.insert(0, node)
