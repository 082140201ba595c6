"""tensorrt-rtx compiles what ships, for GPUs that are not here; a graph with a fault is refused by name."""

import sys
from pathlib import Path

import onnx
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper
from typer.testing import CliRunner

from models.bundle import BUNDLED, Bundle, load_bundle
from models.engine_file import Precision
from stream.engines.tensorrt_plan import TensorRtPlan
from stream.engines.tensorrt_seam import DeviceFault
from tests.gpu.here import why_no_gpu
from trt_build.cli import app
from trt_build.compile_check import compile_check, large_ensemble
from trt_build.eight_bits import FP8, INT8
from trt_build.network import BatchRange, CompileFault, parse
from trt_build.precision import in_precision
from trt_build.qdq import quantised

without_gpu = pytest.mark.skipif(not why_no_gpu(), reason="about a machine without a GPU")


@pytest.fixture(scope="module")
def graph(tiny_bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(tiny_bundle.onnx)


@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
def test_every_precision_of_a_bundle_compiles(graph: onnx.ModelProto, precision: Precision) -> None:
    done = compile_check(graph, precision)
    assert done.plan_bytes > graph.ByteSize()


@pytest.fixture(scope="module")
def int8(graph: onnx.ModelProto, tiny_bundle: Bundle) -> onnx.ModelProto:
    return quantised(graph, [tiny_bundle.golden()[0]], INT8)


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_an_int8_graph_compiles_with_its_rest_in_either_precision(
    int8: onnx.ModelProto, precision: Precision
) -> None:
    done = compile_check(int8, precision)
    assert done.nodes > len(int8.graph.node) / 2


def test_an_fp8_graph_compiles_for_what_has_fp8(graph: onnx.ModelProto, tiny_bundle: Bundle) -> None:
    fp8 = quantised(graph, [tiny_bundle.golden()[0]], FP8)
    assert compile_check(fp8, "f16").targets == ("SM89",)
    with pytest.raises(CompileFault, match="SM80 cannot compute in FP8, which begins with SM89"):
        compile_check(fp8, "f16", ["SM80"])


def test_a_graph_with_its_weights_in_a_file_compiles(graph: onnx.ModelProto) -> None:
    """As graphs beyond 2 GiB are handed over; the file is gone before the build."""
    network = parse(tensorrt_rtx, in_precision(graph, "f32"), one_file=0)
    config = network.config([BatchRange(1, 1, 1)])
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM89, 0)
    assert len(network.build(config)) > graph.ByteSize()


@pytest.mark.skipif(not BUNDLED.exists(), reason="this checkout has no default bundle")
def test_the_bundle_that_ships_compiles() -> None:
    assert compile_check(onnx.load(load_bundle(BUNDLED).onnx), "f16").nodes > 100


def test_a_vit_l14_ensemble_compiles() -> None:
    """Two of 24 blocks here; `pixassay engine check` takes all of them."""
    large = large_ensemble(blocks=2)
    assert compile_check(large, "f16").plan_bytes > 0.4 * large.ByteSize()


def broken(graph: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The graph with one fault in it, in a node called `culprit`."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    product.name = "culprit"
    if kind == "unknown operator":
        product.op_type, product.domain = "Frobnicate", "nowhere"
        model.opset_import.append(helper.make_opsetid("nowhere", 1))
    elif kind == "mixed types":
        cast = helper.make_node("Cast", [product.input[0]], ["narrow"], name="cast", to=TensorProto.FLOAT16)
        index = list(model.graph.node).index(product)
        product.input[0] = "narrow"
        model.graph.node.insert(index, cast)
    else:
        product.input[1] = product.input[0]
    return model


@pytest.mark.parametrize("kind", ["unknown operator", "mixed types", "shapes that do not fit"])
def test_a_graph_with_a_fault_is_refused_with_the_node_named(graph: onnx.ModelProto, kind: str) -> None:
    with pytest.raises(CompileFault, match="node 'culprit'"):
        parse(tensorrt_rtx, broken(in_precision(graph, "f32"), kind))


def test_a_profile_that_cannot_be_is_refused(graph: onnx.ModelProto) -> None:
    network = parse(tensorrt_rtx, in_precision(graph, "f32"))
    with pytest.raises((CompileFault, ValueError)):
        network.config([BatchRange(8, 4, 2)])


@without_gpu
def test_a_plan_without_a_driver_is_a_clear_refusal_and_no_crash(graph: onnx.ModelProto) -> None:
    network = parse(tensorrt_rtx, in_precision(graph, "f32"))
    config = network.config([BatchRange(1, 1, 1)])
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM89, 0)
    plan = network.build(config)
    with pytest.raises(DeviceFault, match="deserialize_cuda_engine failed"):
        TensorRtPlan(tensorrt_rtx, plan)


@without_gpu
def test_the_commands(tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    bundle, engines = str(tiny_bundle.path), ["--engines", str(tmp_path)]
    checked = run(app, ["check", bundle, "--blocks", "0"])
    assert checked.exit_code == 0, checked.output
    assert "nodes compile for SM80, SM89" in checked.output
    built = run(app, ["build", bundle, *engines])
    assert built.exit_code == 2
    assert "built on the GPU that will run it, and there is no NVIDIA driver" in built.output
    assert run(app, ["build", bundle, "--batches", "1,x", *engines]).exit_code == 2
    verified = run(app, ["verify", bundle, *engines])
    assert verified.exit_code == 0, verified.output
    assert "agrees with torch" in verified.output
    assert "TensorRT engine: not looked at: there is no NVIDIA driver" in verified.output
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    missing = run(app, ["check", bundle, "--blocks", "0"])
    assert missing.exit_code == 1
    assert "tensorrt-rtx is not installed" in missing.output
