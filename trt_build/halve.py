"""Half the size of a graph on disk: large weights stored as float16, computed in float32.

Every engine widens such constants once, when it loads the graph. The weights are rounded before
the graph is written, so torch, ONNX and the golden logits all speak of the same numbers.
"""

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SMALLEST = 256  # elements: below, a Cast costs more than it saves
HALVED = ".f16"  # behind the name of an initialiser that was


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
    for weight in graph.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            weight.CopyFrom(halved(numpy_helper.to_array(weight), weight.name))
    cast_halved(graph)


def halved(values: NDArray[Any], name: str) -> onnx.TensorProto:
    """An initialiser: in float16, as `name`.f16, where it is a large one that is exact in it."""
    if values.dtype == np.float32 and values.size >= SMALLEST:
        narrow = values.astype(np.float16)
        if np.array_equal(narrow.astype(np.float32), values):
            return numpy_helper.from_array(narrow, f"{name}{HALVED}")
    return numpy_helper.from_array(values, name)


def cast_halved(graph: onnx.ModelProto) -> None:
    """Put a Cast to float32 behind each initialiser that was halved."""
    names = [weight.name for weight in graph.graph.initializer if weight.name.endswith(HALVED)]
    for name in reversed(names):
        wide = name.removesuffix(HALVED)
        cast = helper.make_node("Cast", [name], [wide], name=f"{wide}.widen", to=TensorProto.FLOAT)
        graph.graph.node.insert(0, cast)
