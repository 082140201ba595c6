"""Weights beside the graph, as graphs beyond 2 GiB have them: the same scores, of no file but the bundle's.

Small graphs are forced into that form; the size is all that differs from those of large towers.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models.bundle import GOLDEN, ONNX, Bundle, BundleError, load_bundle, write_bundle
from models.onnx_data import NoGraphError, data_files
from stream.engines.choose import golden_error
from stream.engines.onnxruntime import OnnxRuntimeEngine
from stream.engines.openvino import OpenVinoEngine
from trt_build.graph_file import SUFFIX, on_disk, read_graph, weight_bytes, write_graph
from trt_build.verify import golden_difference

DATA = ONNX + SUFFIX


def write_apart(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle with its weights in a data file."""
    for file in bundle.path.iterdir():
        shutil.copy(file, folder)
    write_graph(read_graph(bundle.onnx), folder / ONNX, one_file=0)
    return written(bundle, folder)


def written(bundle: Bundle, folder: Path) -> Bundle:
    """What lies in the folder, with hashes that are right."""
    return write_bundle(folder, bundle.manifest.model_dump(by_alias=True, exclude={"files"}))


@pytest.fixture
def apart(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return write_apart(tiny_bundle, tmp_path)


def assert_same(one: onnx.ModelProto, other: onnx.ModelProto) -> None:
    """Nodes and weights; how a tensor says that its bytes are its own may differ."""
    assert list(one.graph.node) == list(other.graph.node)
    weights = [{w.name: numpy_helper.to_array(w) for w in model.graph.initializer} for model in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, values in weights[0].items():
        assert values.dtype == weights[1][name].dtype
        np.testing.assert_array_equal(values, weights[1][name])


def test_most_of_the_bytes_lie_beside_the_graph(tiny_bundle: Bundle, apart: Bundle) -> None:
    assert (apart.path / DATA).stat().st_size > 0.6 * weight_bytes(read_graph(tiny_bundle.onnx))
    assert apart.onnx.stat().st_size < 0.6 * tiny_bundle.onnx.stat().st_size
    assert_same(read_graph(apart.onnx), read_graph(tiny_bundle.onnx))


def test_every_engine_gives_the_golden_logits(apart: Bundle) -> None:
    assert golden_difference(apart) < 1e-4
    assert golden_error(OnnxRuntimeEngine(apart, threads=1, max_batch=4), apart) < 1e-4
    openvino = OpenVinoEngine(apart, threads=1, max_batch=4)
    assert golden_error(openvino, apart) < apart.manifest.golden_tolerance[openvino.precision]


def test_the_id_hangs_on_the_weights(tiny_bundle: Bundle, apart: Bundle, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert write_apart(tiny_bundle, tmp_path / "again").id == apart.id != tiny_bundle.id
    nodes, weights = apart.manifest.files[ONNX], apart.graph_sha256
    change(apart.path / DATA)
    other = written(apart, apart.path)
    assert other.id != apart.id
    assert other.manifest.files[ONNX] == nodes
    assert other.graph_sha256 != weights  # so that no engine of other weights passes for one of these


def test_a_bundle_of_one_file_names_its_graph_as_ever(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.graph_sha256 == tiny_bundle.manifest.files[ONNX]


def test_an_earlier_data_file_does_not_stay(tiny_bundle: Bundle, apart: Bundle) -> None:
    write_graph(read_graph(tiny_bundle.onnx), apart.onnx)
    assert not (apart.path / DATA).exists()
    assert apart.onnx.read_bytes() == tiny_bundle.onnx.read_bytes()


def test_a_graph_is_on_disk_for_a_while_and_keeps_its_weights(tiny_bundle: Bundle) -> None:
    graph = read_graph(tiny_bundle.onnx)
    with on_disk(graph, one_file=0) as path:
        assert_same(read_graph(path), graph)
    assert not path.exists()


def change(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, "listed in the manifest: No such file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "was changed"),
        (change, "was changed"),
    ],
)
def test_a_data_file_that_is_not_whole_is_refused(
    apart: Bundle, harm: Callable[[Path], object], message: str
) -> None:
    harm(apart.path / DATA)
    with pytest.raises(BundleError, match=f"{DATA} .*{message}"):
        load_bundle(apart.path)


def test_a_graph_that_reads_beyond_its_data_file_is_refused(apart: Bundle) -> None:
    file = apart.path / DATA
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"cut short: the graph reads [0-9]+ bytes"):
        written(apart, apart.path)


def point_to(graph: Path, location: str, where: str) -> None:
    """Let one tensor of the graph read that file."""
    model = onnx.load(graph, load_external_data=False)
    if where == "initialiser":
        tensor = next(one for one in model.graph.initializer if one.external_data)
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    else:  # a constant inside a branch of a node, where nobody looks for weights
        tensor = onnx.TensorProto(name="c", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
        branch = onnx.helper.make_graph([constant], "b", [], [])
        model.graph.node.append(onnx.helper.make_node("If", ["c"], ["d"], then_branch=branch))
    graph.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "unlisted.bin", GOLDEN, f"./{DATA}", ""])
@pytest.mark.parametrize("where", ["initialiser", "inner constant"])
def test_weights_elsewhere_are_refused(apart: Bundle, location: str, where: str) -> None:
    point_to(apart.onnx, location, where)
    with pytest.raises(
        BundleError, match=r"which is no data file of the bundle: export it again$"
    ) as refused:
        written(apart, apart.path)
    assert repr(location) in str(refused.value)


def test_what_is_no_graph_is_refused(tiny_bundle: Bundle, apart: Bundle) -> None:
    apart.onnx.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="is no ONNX graph: export the bundle again"):
        written(apart, apart.path)
    whole = tiny_bundle.onnx.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, *rng.integers(2, len(whole) - 1, 30).tolist()):
        apart.onnx.write_bytes(whole[:cut])
        with pytest.raises(NoGraphError):
            data_files(apart.onnx)
