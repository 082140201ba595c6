"""A float graph -> one whose products are int8, by explicit QuantizeLinear and DequantizeLinear. No torch.

    activation -> Q -> DQ --+
                            +--> product (Conv, MatMul, Gemm) -> float32, as everything between products is
    int8 weight ------> DQ -+

OpenVINO, ONNX Runtime and TensorRT read such a graph and run its products in integers. It suits all three:

- Activations are symmetric, one scale a tensor, set beforehand: a score depends on its own picture alone.
- Weights are symmetric, one scale an output channel, in 7 of the 8 bits: a CPU without VNNI adds two
  products in 16 bits, where full weights saturate, and scores would then depend on the CPU.
- Biases stay float32: TensorRT takes no others.

What stays in float32 follows one rule, and nothing is searched for: products within `FIRST` products of an
input, where the traces of a generator are faint and every later error begins; depthwise convolutions, whose
channels differ too much for one scale and which are a small part of the work; products of two activations;
and the last product of every path, the heads, so that logits are float32.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from trt_build.precision import PRODUCTS, in_precision

Views = dict[str, NDArray[np.uint8]]  # view name -> [N, S, S, 3]
FIRST = (
    6  # of 1, 3, 6, 9 and 15 tried on the bundle that ships, by the drift of its logits and the time taken
)


def quantised(graph: onnx.ModelProto, batches: Sequence[Views]) -> onnx.ModelProto:
    """The int8 graph of `graph`; the pictures in `batches` set the ranges of its activations.

    Raises ValueError where the rule above leaves no product to quantise.
    """
    wide = in_precision(graph, "f32")
    chosen = int8_products(wide.graph)
    if not chosen:
        raise ValueError(f"no product lies {FIRST} products behind the inputs and before a head")
    with TemporaryDirectory(prefix="pixassay-int8-") as folder:
        source, prepared, target = (Path(folder, f"{name}.onnx") for name in ("source", "prepared", "int8"))
        source.write_bytes(wide.SerializeToString())
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Pictures(batches),
            op_types_to_quantize=sorted(PRODUCTS),
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": sorted(PRODUCTS),
            },
        )
        return onnx.load(target)


def int8_products(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that the rule above turns into int8, in the order of the graph."""
    weights = {weight.name for weight in graph.initializer}
    depths, lasts = _depths(graph), _lasts(graph)
    return [
        node.name
        for node in graph.node
        if depths.get(node.name, 0) >= FIRST
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


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """What onnxruntime asks for: one batch after the other, then None."""

    def __init__(self, batches: Sequence[Views]) -> None:
        self._left: Iterator[Views] = iter(batches)

    def get_next(self) -> Views | None:
        return next(self._left, None)
