"""Graphs on disk: one file, or a file and its weights beside it where one protobuf message is too small.

    ensemble.onnx                            below `ONE_FILE`
    ensemble.onnx + ensemble.onnx.data       from there on: the nodes, and the large weights end to end

In memory a graph of any size is one ModelProto with its weights inside. No torch here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

# Bytes of weights. A message ends at 2 GiB; 128 MiB are left for the nodes, which took 2 MB at most so far.
ONE_FILE = 2**31 - 2**27
PAGE = 4096  # a weight starts on a page, as onnx.proto advises, so that it can be mapped into memory
SUFFIX = ".data"


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initialisers; a message beyond 2 GiB cannot be asked for its size."""
    return sum(_bytes(weight) for weight in model.graph.initializer)


def write_graph(model: onnx.ModelProto, path: Path, one_file: int = ONE_FILE) -> None:
    """Write `path`, and `path`.data where the weights take more than `one_file` bytes.

    A data file of an earlier graph goes.
    """
    data = path.with_name(path.name + SUFFIX)
    data.unlink(missing_ok=True)
    written = _with_data(model, data) if weight_bytes(model) > one_file else model
    path.write_bytes(written.SerializeToString())


def read_graph(path: Path) -> onnx.ModelProto:
    """The graph with all its weights in memory. Raises what onnx.load raises."""
    return onnx.load(path)


@contextmanager
def on_disk(model: onnx.ModelProto, one_file: int = ONE_FILE) -> Iterator[Path]:
    """The graph in a file that is there for a while, for libraries that take large graphs by path only."""
    with TemporaryDirectory(prefix="pixassay-graph-") as folder:
        path = Path(folder, "graph.onnx")
        write_graph(model, path, one_file)
        yield path


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of all but the initialisers."""
    light = onnx.ModelProto()
    _copy(model, light, but="graph")
    _copy(model.graph, light.graph, but="initializer")
    return light


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph of any size: CopyFrom goes by way of a message, which ends at 2 GiB."""
    made = without_weights(model)
    made.graph.initializer.extend(model.graph.initializer)
    return made


def _copy(source: Message, target: Message, but: str) -> None:
    for field, value in source.ListFields():
        if field.name != but:
            target.MergeFrom(type(source)(**{field.name: value}))


def _with_data(model: onnx.ModelProto, data: Path) -> onnx.ModelProto:
    """A copy that reads its large weights from `data`, which is written here."""
    light = without_weights(model)
    with data.open("wb") as stream:
        for weight in model.graph.initializer:
            if _bytes(weight) < PAGE:
                light.graph.initializer.append(weight)
                continue
            stream.write(bytes(-stream.tell() % PAGE))
            start = stream.tell()
            stream.write(weight.raw_data or numpy_helper.to_array(weight).tobytes())
            light.graph.initializer.append(_reference(weight, data.name, start, stream.tell() - start))
    return light


def _reference(weight: TensorProto, location: str, offset: int, length: int) -> TensorProto:
    made = TensorProto(name=weight.name, data_type=weight.data_type, dims=weight.dims)
    made.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        made.external_data.add(key=key, value=str(value))
    return made


def _bytes(weight: TensorProto) -> int:
    if weight.HasField("raw_data"):
        return len(weight.raw_data)
    return int(np.prod(weight.dims) * helper.tensor_dtype_to_np_dtype(weight.data_type).itemsize)
