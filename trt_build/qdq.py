"""A float graph -> one whose products take 8-bit numbers, by explicit QuantizeLinear and DequantizeLinear.

    activation -> Q -> DQ --+
                            +--> product (Conv, MatMul, Gemm) -> float32, as everything between products is
    8-bit weight -----> DQ -+

Engines that know the pattern compute such a product in 8 bits. A score depends on its own picture alone:
scales of activations are set beforehand, by the largest value that calibration pictures bring. Biases stay
float32: TensorRT takes no others. Graphs of any size are taken. No torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.errors import ModelError
from models.scoring import Views
from trt_build.eight_bits import FIRST, Kind, eight_bit_products
from trt_build.graph_file import ONE_FILE, copied, on_disk, without_weights
from trt_build.precision import in_precision


class QuantisationError(ModelError):
    """No quantised bundle was written; the message says what was lost, or what is missing."""


def quantised(
    graph: onnx.ModelProto, batches: Sequence[Views], kind: Kind, one_file: int = ONE_FILE
) -> onnx.ModelProto:
    """`graph` with its products in `kind`; the pictures in `batches` set the scales of activations.

    Raises QuantisationError where the rule of `eight_bits` leaves no product.
    """
    wide = in_precision(graph, "f32")
    chosen = set(eight_bit_products(wide.graph, kind))
    if not chosen:
        raise QuantisationError(
            f"nothing of the graph can be {kind.name}: no {' or '.join(sorted(kind.products))} with weights "
            f"lies {FIRST} products behind the inputs and before a head; serve the float bundle"
        )
    names = dict.fromkeys(node.input[0] for node in wide.graph.node if node.name in chosen)
    largest = _largest(wide, list(names), batches, one_file)
    return _Rewriting(wide, kind, largest).apply(chosen)


def _largest(
    graph: onnx.ModelProto, names: Sequence[str], batches: Sequence[Views], one_file: int
) -> dict[str, float]:
    """Largest absolute value of each tensor over all pictures."""
    watched = copied(graph)
    outputs = [f"{name}.largest" for name in names]
    for name, output in zip(names, outputs, strict=True):
        watched.graph.node.append(helper.make_node("Abs", [name], [f"{name}.abs"]))
        watched.graph.node.append(helper.make_node("ReduceMax", [f"{name}.abs"], [output], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with on_disk(watched, one_file) as path:
        del watched
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = [session.run(outputs, batch) for batch in batches]
    return dict(zip(names, np.max(np.array(found), axis=0).tolist(), strict=True))


class _Rewriting:
    """One pass over a float32 graph, in its topological order."""

    def __init__(self, graph: onnx.ModelProto, kind: Kind, largest: dict[str, float]) -> None:
        """`largest` has the activations of all products that become 8-bit ones."""
        self._source, self._kind, self._largest = graph, kind, largest
        self._stored = {weight.name: weight for weight in graph.graph.initializer}
        self._constants: dict[str, onnx.TensorProto] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._done = set[str]()  # what a DQ gives

    def apply(self, chosen: set[str]) -> onnx.ModelProto:
        """A new graph with these products in 8 bits."""
        for node in self._source.graph.node:
            made = onnx.NodeProto()
            made.CopyFrom(node)
            if node.name in chosen:
                made.input[0] = self._activation(node.input[0])
                made.input[1] = self._weight(node.input[1], _channel(node))
            self._nodes.append(made)
        model = without_weights(self._source)
        del model.graph.node[:]
        model.graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        constants = self._stored | self._constants
        model.graph.initializer.extend(one for name, one in constants.items() if name in used)
        return model

    def _activation(self, name: str) -> str:
        """Its name behind Q and DQ, which all products that read it share."""
        narrow, wide = f"{name}.{self._kind.name}", f"{name}.dequantised"
        if wide not in self._done:
            scale = _scale(np.array(self._largest[name]), self._kind.largest)
            zero = self._constant(f"{self._kind.name}.zero", self._kind.rounded(np.zeros((), np.float32)))
            held = self._constant(f"{name}.scale", scale)  # the zero's type is what Q rounds to
            self._add("QuantizeLinear", [name, held, zero], narrow)
            self._add("DequantizeLinear", [narrow, held], wide)
        return wide

    def _weight(self, name: str, channel: int) -> str:
        """Its name behind the DQ; it is stored in 8 bits."""
        narrow, wide = f"{name}.{self._kind.name}{channel}", f"{name}.dequantised{channel}"
        if wide not in self._done:
            values = numpy_helper.to_array(self._stored[name]).astype(np.float32)
            others = tuple(axis for axis in range(values.ndim) if axis != channel)
            scale = _scale(np.abs(values).max(axis=others, keepdims=True), self._kind.largest_weight)
            stored = self._constant(narrow, self._kind.rounded(values / scale))
            held = self._constant(f"{name}.scale{channel}", scale.ravel())
            self._add("DequantizeLinear", [stored, held], wide, axis=channel)
        return wide

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(values, name)
        return name

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        self._done.add(output)


def _scale(largest: NDArray[Any], becomes: float) -> NDArray[np.float32]:
    """What a number of 8 bits is multiplied by; 1 for what is zero throughout."""
    scale = np.asarray(largest / becomes, np.float32)
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)


def _channel(node: onnx.NodeProto) -> int:
    """The axis of a weight's output channels."""
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1
