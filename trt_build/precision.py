"""The precision of a graph, changed in the graph itself: TensorRT takes every type from there.

    uint8 views -> float32 (normalisation) -> half -> ... -> float32 (heads, means of crops) -> float32 logits

Half is float16 or bfloat16. Products and what lies between them run in half; layer normalisations and
reductions, whose sums lose most, stay in float32, and so does all that follows the last products: the
heads and what is done to their logits. No torch here, so an engine can be built from a bundle alone.
"""

from collections.abc import Iterable

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from models.engine_file import Precision

HALVES = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BF16_OPSET = 22  # of which the export's operators differ from opset 20's only in that they take bfloat16
LARGE = 1024  # elements; shapes and axes, whose values shape inference needs, are smaller
PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
WIDE = frozenset(
    {"LayerNormalization", "GlobalAveragePool", "LpNormalization"}
    | {f"Reduce{kind}" for kind in ("L2", "Max", "Mean", "Sum", "SumSquare")}
)


def in_precision(graph: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """A graph that computes the same in `precision`; float32 constants stored narrow are widened first.

    Inputs and outputs keep their types. Raises onnx.shape_inference.InferenceError for a faulty graph.
    """
    widened = onnx.ModelProto()
    widened.CopyFrom(graph)
    _widen(widened.graph)
    _cast_inputs(widened.graph)
    if precision == "f32":
        return widened
    if precision == "bf16":
        default = next(opset for opset in widened.opset_import if opset.domain == "")
        default.version = max(default.version, BF16_OPSET)
    return _Narrowing(widened, HALVES[precision]).result()


def _widen(graph: onnx.GraphProto) -> None:
    """Undo `halve`: a Cast of a constant to float32 becomes a float32 constant."""
    constants = {weight.name: weight for weight in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "Cast" or node.input[0] not in constants or _target(node) != TensorProto.FLOAT:
            continue
        weight = constants[node.input[0]]
        values = numpy_helper.to_array(weight).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)


def _cast_inputs(graph: onnx.GraphProto) -> None:
    """Cast uint8 inputs where they enter: TensorRT can do nothing else with that type."""
    bytes_in = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in bytes_in:
                node.input[index] = f"{name}.float"
    for name in sorted(bytes_in):
        cast = helper.make_node("Cast", [name], [f"{name}.float"], name=f"{name}.float", to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
    del graph.value_info[:]  # the types between an input and its former cast have changed


class _Narrowing:
    """One pass over a float32 graph, in its topological order."""

    def __init__(self, model: onnx.ModelProto, half: int) -> None:
        self._model, self._half = model, half
        self._types = _element_types(model)
        self._constants = {weight.name: weight for weight in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._narrow = _narrow_nodes(model.graph, self._types)
        self._now: dict[str, int] = {}  # float tensor -> the type in which it exists in the new graph
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def result(self) -> onnx.ModelProto:
        """The converted graph."""
        for node in self._model.graph.node:
            self._convert(node)
        for output in self._model.graph.output:
            if self._now.get(output.name, TensorProto.FLOAT) != TensorProto.FLOAT:
                raise ValueError(f"output {output.name} is not float32: no product leads to it in the graph")
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        del graph.value_info[:]
        used = {name for node in self._nodes for name in node.input}
        kept = [weight for weight in self._constants.values() if weight.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return self._model

    def _convert(self, node: onnx.NodeProto) -> None:
        wanted = self._half if id(node) in self._narrow else TensorProto.FLOAT
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
                self._constants[made] = _narrowed(self._constants[name], made, wanted)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [made], name=made, to=wanted))
        return self._casts[name, wanted]


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor name -> element type. Large constants go in as inputs: a message may not exceed 2 GB."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for weight in model.graph.initializer:
        if np.prod(weight.dims) < LARGE:
            light.graph.initializer.append(weight)
        else:
            described = helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            light.graph.input.append(described)
    inferred = shape_inference.infer_shapes(light, strict_mode=True).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {weight.name: weight.data_type for weight in inferred.initializer}


def _narrow_nodes(graph: onnx.GraphProto, types: dict[str, int]) -> set[int]:
    """The ids of the nodes that run in half: behind a first product and before a last one."""
    after, products = set[str](), set[int]()  # tensors behind a product
    for node in graph.node:
        if node.op_type in PRODUCTS or not after.isdisjoint(node.input):
            after.update(node.output)
            products.add(id(node))
    before, narrow = set[str](), set[int]()  # tensors that some product still reads
    for node in reversed(graph.node):
        leads = not before.isdisjoint(node.output)
        if leads and id(node) in products and node.op_type not in WIDE and _floats(node, types):
            narrow.add(id(node))
        if leads or node.op_type in PRODUCTS:
            before.update(node.input)
    return narrow


def _floats(node: onnx.NodeProto, types: dict[str, int]) -> bool:
    names: Iterable[str] = (*node.input, *node.output)
    return any(types.get(name) == TensorProto.FLOAT for name in names)


def _narrowed(weight: onnx.TensorProto, name: str, wanted: int) -> onnx.TensorProto:
    values = numpy_helper.to_array(weight)
    kind = np.float16 if wanted == TensorProto.FLOAT16 else ml_dtypes.bfloat16
    return numpy_helper.from_array(values.astype(kind), name)


def _target(node: onnx.NodeProto) -> int:
    return int(next(a.i for a in node.attribute if a.name == "to"))
