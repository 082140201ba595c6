"""A classifier that somebody exported to ONNX, as a graph that reads a view of ours.

    uint8 [N, S, S, 3] -> (x / 255 - mean) / std, in the layout of the file -> its network -> one logit [N, 1]

A sigmoid or softmax at its end is cut off: detectors give logits, and rounding would flatten probabilities.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, version_converter
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from models.importing.classifier import synthetic_class
from models.importing.preprocessing import Given, Preprocessing
from models.towers.weights import WeightsError, some
from trt_build.export import OPSET
from trt_build.graph_file import copied, on_disk, read_graph
from trt_build.merge import LOGITS

ENDS = frozenset({"Sigmoid", "Softmax", "LogSoftmax"})
FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A network of somebody else, with its output before any sigmoid or softmax."""

    path: Path
    model: onnx.ModelProto  # one input, one output
    prepared: Preprocessing
    channels_last: bool
    outputs: int = 1  # or 2
    synthetic: int = 1  # index of the output that says synthetic; of one output, 1: high means synthetic

    def logits(self, view: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's own forward pass on a view [N, S, S, 3], as one logit [N, 1]."""
        z = _run(self.model, self._pixels(view))  # [N, outputs]
        if self.outputs == 1:
            return z if self.synthetic == 1 else -z
        return z[:, [self.synthetic]] - z[:, [1 - self.synthetic]]

    def _pixels(self, view: NDArray[np.uint8]) -> NDArray[np.float32]:
        mean, std = (np.array(x, np.float32) for x in (self.prepared.mean, self.prepared.std))
        pixels = (view.astype(np.float32) / np.float32(255) - mean) / std
        return pixels if self.channels_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def read_onnx(path: Path, given: Given, synthetic: int | None) -> OnnxFile:
    """Raises WeightsError with what was seen and what was expected."""
    model = _loaded(path)
    side, channels_last = _layout(path, model)
    if side is not None and given.size not in (None, side):
        raise WeightsError(f"{path} reads pictures of {side} pixels, not of {given.size}: leave --size out")
    prepared = replace(given, size=side or given.size).whole(str(path))
    _cut_end(path, model)
    found = OnnxFile(path, model, prepared, channels_last)
    outputs = _outputs(found)
    index = synthetic_class(str(path), outputs, (), synthetic)
    return replace(found, outputs=outputs, synthetic=index)


def as_member(file: OnnxFile) -> onnx.ModelProto:
    """The graph with uint8 view in and `logits` [N, 1] out, in the opset of ours. Raises WeightsError."""
    # No name of theirs is one of ours.
    model = compose.add_prefix(copied(file.model), "net/", inplace=True)
    if _opset(model) != OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except (RuntimeError, EncodeError, onnx.checker.ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"{file.path}: export it with opset {OPSET}: {reason}") from error
    del model.graph.value_info[:]
    _name_batch(model)
    _read_view(file, model)
    _one_logit(file, model)
    return model


def _loaded(path: Path) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(path)
        model = read_graph(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise WeightsError(f"{path} is no ONNX file: {str(error).splitlines()[0]}") from error
    constants = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    outputs = [value.name for value in model.graph.output]
    chosen = [LOGITS] if len(outputs) > 1 and LOGITS in outputs else outputs
    if len(inputs) != 1 or len(chosen) != 1:
        raise WeightsError(
            f"{path} reads {some(v.name for v in inputs)} and gives {some(outputs)}: one input and one "
            f"output (or one that is named {LOGITS}) were expected"
        )
    kept = next(value for value in model.graph.output if value.name == chosen[0])
    _keep(model.graph.input, inputs[0])
    _keep(model.graph.output, kept)
    return model


def _keep(values: "onnx.GraphProto.input", one: onnx.ValueInfoProto) -> None:
    kept = onnx.ValueInfoProto()
    kept.CopyFrom(one)
    del values[:]
    values.append(kept)


def _layout(path: Path, model: onnx.ModelProto) -> tuple[int | None, bool]:
    """The side of its pictures (None: any), and whether the channels are the last axis."""
    tensor = model.graph.input[0].type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]  # 0: dynamic
    channels_last = len(dims) == 4 and dims[3] == 3
    sides = dims[1:3] if channels_last else dims[2:4]
    fits = len(dims) == 4 and (channels_last or dims[1] == 3) and sides[0] == sides[1]
    if not fits or tensor.elem_type not in FLOATS:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise WeightsError(
            f"{path} reads {kind} {dims}, where floats [batch, 3, side, side] or [batch, side, side, 3] were "
            "expected"
        )
    if dims[0]:
        raise WeightsError(f"{path} has a fixed batch of {dims[0]}: export it with a dynamic first axis")
    return sides[0] or None, channels_last


def _cut_end(path: Path, model: onnx.ModelProto) -> None:
    """Give out what the last sigmoid or softmax reads."""
    output = model.graph.output[0]
    last = next((node for node in model.graph.node if output.name in node.output), None)
    if last is None:
        raise WeightsError(f"{path} gives {output.name}, which none of its nodes makes")
    if last.op_type in ENDS:
        output.name = last.input[0]
        model.graph.node.remove(last)


def _outputs(file: OnnxFile) -> int:
    """How many numbers it gives a picture: tried with two pictures, since many files do not say."""
    side = file.prepared.size
    try:
        z = _run(file.model, file._pixels(np.zeros((2, side, side, 3), np.uint8)))
    except (Fail, InvalidArgument, RuntimeException) as error:
        raise WeightsError(
            f"{file.path} cannot run on two pictures of {side} pixels: {str(error).splitlines()[0]}"
        ) from error
    if z.shape[0] != 2:
        raise WeightsError(f"{file.path} gives {list(z.shape)} for two pictures, not [2, classes]")
    if z.shape[1] == 2 and (z >= 0).all() and np.allclose(z.sum(axis=1), 1, atol=1e-3):
        raise WeightsError(f"{file.path} gives probabilities, not logits: export it without its softmax")
    return int(z.shape[1])


def _run(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, outputs]; a result [N] counts as one output."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # faults are raised as well
    with on_disk(model) as graph:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    entry = model.graph.input[0]
    typed = pixels.astype(FLOATS[entry.type.tensor_type.elem_type])
    result = np.asarray(session.run(None, {entry.name: typed})[0], dtype=np.float32)
    return result.reshape(len(result), -1)


def _opset(model: onnx.ModelProto) -> int:
    return next((int(opset.version) for opset in model.opset_import if opset.domain == ""), 0)


def _name_batch(model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].dim_param = "batch"


def _read_view(file: OnnxFile, model: onnx.ModelProto) -> None:
    """Put the cast, the layout and the normalisation before the network."""
    graph, view = model.graph, file.prepared.view()
    entry = graph.input[0]
    shape = (1, 1, 1, 3) if file.channels_last else (1, 3, 1, 1)
    stated = {"import.mean": file.prepared.mean, "import.std": file.prepared.std}  # of pixels in 0..1
    constants = {name: 255 * np.array(value, np.float32).reshape(shape) for name, value in stated.items()}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    kind = entry.type.tensor_type.elem_type
    nodes = [helper.make_node("Cast", [view.name], ["import.float"], to=TensorProto.FLOAT)]
    if not file.channels_last:
        nodes.append(helper.make_node("Transpose", ["import.float"], ["import.planes"], perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node("Sub", [nodes[-1].output[0], "import.mean"], ["import.centred"]),
        helper.make_node("Div", ["import.centred", "import.std"], ["import.normal"]),
        helper.make_node("Cast", ["import.normal"], [entry.name], to=kind),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    _keep(
        graph.input,
        helper.make_tensor_value_info(view.name, TensorProto.UINT8, ["batch", view.size, view.size, 3]),
    )


def _one_logit(file: OnnxFile, model: onnx.ModelProto) -> None:
    """Two classes become their difference, high means synthetic, and the type float32.

    No matrix product: a graph in half precision keeps what follows the last one in float32.
    """
    graph = model.graph
    signs = np.full((1, file.outputs), -1, np.float32)
    signs[0, file.synthetic if file.outputs == 2 else 0] = 1 if file.outputs == 2 or file.synthetic else -1
    constants: dict[str, NDArray[Any]] = {
        "import.signs": signs,
        "import.shape": np.array([-1, file.outputs], np.int64),
        "import.axes": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Cast", [graph.output[0].name], ["import.out"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["import.out", "import.shape"], ["import.classes"]),
            helper.make_node("Mul", ["import.classes", "import.signs"], ["import.signed"]),
            helper.make_node("ReduceSum", ["import.signed", "import.axes"], [LOGITS], keepdims=1),
        ]
    )
    _keep(graph.output, helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", 1]))
