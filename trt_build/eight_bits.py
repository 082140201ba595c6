"""The two kinds of 8-bit numbers that products are computed in, and which products of a graph become so.

    int8   scale * integer -127..127       CPUs (OpenVINO, ONNX Runtime) and GPUs (TensorRT)
    fp8    scale * E4M3, at most 448       GPUs from Ada and Hopper on (TensorRT)

Both are symmetric, as TensorRT wants them, with one scale an activation, set beforehand, and one a weight's
output channel. Weights of int8 take 7 of the 8 bits: a CPU without VNNI adds two products in 16 bits, where
full weights saturate, and scores would then depend on the CPU. Products of fp8 are matrix products only:
TensorRT-RTX names no others (its manual, "Working with Quantized Types").

What stays in float32 follows one rule, and nothing is searched for: products within `FIRST` products of an
input, where the traces of a generator are faint and every later error begins; depthwise convolutions, whose
channels differ too much for one scale and which are a small part of the work; products of two activations;
and the last product of every path, the heads, so that logits are float32.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from trt_build.precision import PRODUCTS

# Of 1, 3, 6, 9 and 15 tried on the bundle that ships, by the drift of its logits and the time taken.
FIRST = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of 8-bit number."""

    name: Literal["int8", "fp8"]
    stored: int  # element type of ONNX
    largest: float  # what the largest activation becomes
    largest_weight: float
    products: frozenset[str]  # operators

    def rounded(self, values: NDArray[Any]) -> NDArray[Any]:
        """The nearest numbers of this kind; `values` are within its range."""
        kind = helper.tensor_dtype_to_np_dtype(self.stored)
        return (np.rint(values) if np.issubdtype(kind, np.integer) else values).astype(kind)


INT8 = Kind("int8", TensorProto.INT8, 127, 64, PRODUCTS)
FP8 = Kind("fp8", TensorProto.FLOAT8E4M3FN, 448, 448, PRODUCTS - {"Conv"})
KINDS = {kind.name: kind for kind in (INT8, FP8)}


def has_fp8(graph: onnx.ModelProto) -> bool:
    """Whether it needs a GPU that computes in FP8."""
    return any(weight.data_type == FP8.stored for weight in graph.graph.initializer)


def eight_bit_products(graph: onnx.GraphProto, kind: Kind) -> list[str]:
    """Names of the nodes that the rule above turns into 8 bits, in the order of the graph."""
    weights = {weight.name for weight in graph.initializer}
    depths, lasts = _depths(graph), _lasts(graph)
    return [
        node.name
        for node in graph.node
        if depths.get(node.name, 0) >= FIRST
        and node.op_type in kind.products
        and node.name not in lasts
        and node.input[1] in weights
        and _groups(node) == 1
    ]


def _depths(graph: onnx.GraphProto) -> dict[str, int]:
    """Name of each product -> how many products lie one behind the other before it."""
    behind: dict[str, int] = {}  # tensor -> the same, of products before it
    found: dict[str, int] = {}
    for node in graph.node:
        depth = max((behind.get(name, 0) for name in node.input), default=0)
        if node.op_type in PRODUCTS:
            found[node.name] = depth
            depth += 1
        behind.update(dict.fromkeys(node.output, depth))
    return found


def _lasts(graph: onnx.GraphProto) -> set[str]:
    """Names of the products that no other product follows."""
    before, found = set[str](), set[str]()  # tensors that lead to a product
    for node in reversed(graph.node):
        leads = not before.isdisjoint(node.output)
        if node.op_type in PRODUCTS and not leads:
            found.add(node.name)
        if node.op_type in PRODUCTS or leads:
            before.update(node.input)
    return found


def _groups(node: onnx.NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "group"), 1)
