"""The precision of a graph, changed in the graph itself: TensorRT takes every type from there.

    uint8 views -> float32 (normalisation) -> half -> ... -> float32 (heads, means of crops) -> float32 logits

Half is float16 or bfloat16. Products and what lies between them run in half; layer normalisations and
reductions, whose sums lose most, stay in float32, and so do heads, the last product of every path, with all
that lies before them back to the product before, and what is done to their logits. No torch here, so an
engine can be built from a bundle alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from models.engine_file import Precision
from trt_build.graph_file import without_weights

HALVES = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
NUMPY: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}
BF16_OPSET = 22  # of which the export's operators differ from opset 20's only in that they take bfloat16
LARGE = 1024  # elements; shapes and axes, whose values shape inference needs, are smaller
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
# A weight of a quantised product is dequantised in the product's own type: a Cast in between would hide from
# TensorRT that the two belong together.
STARTS = PRODUCTS | {"DequantizeLinear"}
WIDE = frozenset(
    {"LayerNormalization", "GlobalAveragePool", "LpNormalization"}
    | {f"Reduce{kind}" for kind in ("L2", "Max", "Mean", "Sum", "SumSquare")}
)


@dataclass(frozen=True, slots=True)
class _Constant:
    """An initialiser to be: made once its type is known, so that a large graph is not held in every type."""

    stored: TensorProto
    kind: int  # element type

    def tensor(self, name: str) -> TensorProto:
        """Under that name, in that type."""
        if self.stored.data_type != self.kind:
            values = _cast(numpy_helper.to_array(self.stored), NUMPY[self.kind])
            return numpy_helper.from_array(values, name)
        made = TensorProto()
        made.CopyFrom(self.stored)
        made.name = name
        return made


_Constants = dict[str, _Constant]


def _cast(values: NDArray[Any], kind: Any) -> NDArray[Any]:
    """In that type; what would become zero becomes the least number: TensorRT takes no scale of zero."""
    made = values.astype(kind)
    lost = (made == 0) & (values != 0)
    made[lost] = np.nextafter(made[lost], np.sign(values[lost]).astype(kind))
    return made


def in_precision(graph: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """A graph that computes the same in `precision`; float32 constants stored narrow are widened first.

    Inputs and outputs keep their types, and what computes in half already keeps its half.
    Raises onnx.shape_inference.InferenceError for a faulty graph.
    """
    made, constants = without_weights(graph), _widened(graph.graph)
    _drop_widening(made.graph, constants)
    _cast_inputs(made.graph)
    del made.graph.value_info[:]  # types change here
    if precision == "bf16":
        default = next(opset for opset in made.opset_import if opset.domain == "")
        default.version = max(default.version, BF16_OPSET)
    if precision != "f32":
        _Narrowing(made, constants, HALVES[precision]).apply()
    used = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(one.tensor(name) for name, one in constants.items() if name in used)
    return made


def _widened(graph: onnx.GraphProto) -> _Constants:
    """Every initialiser, by the name that computing nodes know: behind its Cast where `halve` put one."""
    stored = {weight.name: weight for weight in graph.initializer}
    wide = {
        node.input[0]: node.output[0]
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in stored and _target(node) == TensorProto.FLOAT
    }
    return {
        wide.get(name, name): _Constant(weight, TensorProto.FLOAT if name in wide else weight.data_type)
        for name, weight in stored.items()
    }


def _drop_widening(graph: onnx.GraphProto, constants: _Constants) -> None:
    """Remove the nodes whose results are constants now."""
    kept = [node for node in graph.node if constants.keys().isdisjoint(node.output)]
    del graph.node[:]
    graph.node.extend(kept)


def _cast_inputs(graph: onnx.GraphProto) -> None:
    """Cast uint8 inputs where they enter: TensorRT can do nothing else with that type."""
    bytes_in = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
    cast_here = set[str]()  # none, where the graph was given a precision before
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in bytes_in and node.op_type != "Cast":
                node.input[index] = f"{name}.float"
                cast_here.add(name)
    for name in sorted(cast_here):
        cast = helper.make_node("Cast", [name], [f"{name}.float"], name=f"{name}.float", to=TensorProto.FLOAT)
        graph.node.insert(0, cast)


class _Narrowing:
    """One pass over a float32 graph, in its topological order."""

    def __init__(self, model: onnx.ModelProto, constants: _Constants, half: int) -> None:
        """`constants` gets the narrow ones, too."""
        self._graph, self._constants, self._half = model.graph, constants, half
        self._types = _element_types(model, constants)
        self._narrow = _narrow_nodes(model.graph, self._types)
        self._now: dict[str, int] = {}  # float tensor -> the type in which it exists in the new graph
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def apply(self) -> None:
        """Convert the graph."""
        for index, node in enumerate(self._graph.node):
            self._convert(node, self._half if index in self._narrow else TensorProto.FLOAT)
        for output in self._graph.output:
            if self._now.get(output.name, TensorProto.FLOAT) != TensorProto.FLOAT:
                raise ValueError(f"output {output.name} is not float32: no product leads to it in the graph")
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _convert(self, node: onnx.NodeProto, wanted: int) -> None:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        for index, name in enumerate(node.input):
            if self._types.get(name) == TensorProto.FLOAT:
                made.input[index] = self._as(name, wanted)
        if node.op_type == "Cast" and _target(node) == TensorProto.FLOAT:
            next(a for a in made.attribute if a.name == "to").i = wanted
        for name in node.output:
            if self._types.get(name) == TensorProto.FLOAT:
                self._now[name] = wanted
        self._nodes.append(made)

    def _as(self, name: str, wanted: int) -> str:
        """The name of this tensor in the wanted type; a Cast or a narrow copy of a constant is made once."""
        if self._now.get(name, TensorProto.FLOAT) == wanted:
            return name
        if (name, wanted) not in self._casts:
            made = f"{name}.{TensorProto.DataType.Name(wanted).lower()}"
            self._casts[name, wanted] = made
            if name in self._constants:
                self._constants[made] = _Constant(self._constants[name].stored, wanted)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [made], name=made, to=wanted))
        return self._casts[name, wanted]


def _element_types(model: onnx.ModelProto, constants: _Constants) -> dict[str, int]:
    """Tensor name -> element type. Large constants go in as inputs: a message may not exceed 2 GB."""
    light = without_weights(model)
    for name, one in constants.items():
        if np.prod(one.stored.dims) < LARGE:
            light.graph.initializer.append(one.tensor(name))
        else:
            light.graph.input.append(helper.make_tensor_value_info(name, one.kind, one.stored.dims))
    inferred = shape_inference.infer_shapes(light, strict_mode=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {name: one.kind for name, one in constants.items()}


def _narrow_nodes(graph: onnx.GraphProto, types: dict[str, int]) -> set[int]:
    """The indices of the nodes that run in half: products before the last one, and what lies between them."""
    after, products = set[str](), set[int]()  # tensors behind a product
    for index, node in enumerate(graph.node):
        if node.op_type in STARTS or not after.isdisjoint(node.input):
            after.update(node.output)
            products.add(index)
    # Tensors that some product still reads, and those that one reads which is not the last of its path.
    before, inside, narrow = set[str](), set[str](), set[int]()
    for index, node in reversed(list(enumerate(graph.node))):
        leads, within = not before.isdisjoint(node.output), not inside.isdisjoint(node.output)
        product = node.op_type in PRODUCTS
        if (within or (product and leads)) and index in products and _can_be_narrow(node, types):
            narrow.add(index)
        if leads or product:
            before.update(node.input)
        if within or (product and leads):
            inside.update(node.input)
    return narrow


def _can_be_narrow(node: onnx.NodeProto, types: dict[str, int]) -> bool:
    """Whether it need not stay wide, and has a float32 and no half yet, as the Casts between the two have."""
    names: Iterable[str] = (*node.input, *node.output)
    kinds = {types.get(name) for name in names}
    return node.op_type not in WIDE and TensorProto.FLOAT in kinds and kinds.isdisjoint(HALVES.values())


def _target(node: onnx.NodeProto) -> int:
    return int(next(a.i for a in node.attribute if a.name == "to"))
