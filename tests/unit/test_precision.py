"""A graph in float16 and bfloat16: what stays wide, and that it computes the same."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.bundle import Bundle
from models.engine_file import Precision
from models.ensemble import Ensemble
from models.probe import Probe
from models.spec import ViewSpec
from models.towers.statistics import StatisticsTower
from trt_build.eight_bits import INT8
from trt_build.export import export_onnx
from trt_build.precision import PRODUCTS, in_precision
from trt_build.qdq import quantised

HALF = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return values | {weight.name: weight.data_type for weight in graph.initializer}


@pytest.fixture(scope="module")
def graph(tiny_bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(tiny_bundle.onnx)


def test_float16_gives_the_golden_logits(graph: onnx.ModelProto, tiny_bundle: Bundle) -> None:
    views, expected = tiny_bundle.golden()
    session = onnxruntime.InferenceSession(
        in_precision(graph, "f16").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    error = np.abs(np.asarray(session.run(["logits"], views)[0]) - expected).max()
    assert 1e-6 < error < 5e-3  # not nothing: it did compute in float16


def test_bfloat16_gives_the_golden_logits(graph: onnx.ModelProto, tiny_bundle: Bundle) -> None:
    views, expected = tiny_bundle.golden()
    outputs = ReferenceEvaluator(in_precision(graph, "bf16")).run(["logits"], views)
    assert isinstance(outputs, list)
    error = np.abs(np.asarray(outputs[0]) - expected).max()
    assert 1e-5 < error < 2e-2


def test_float32_is_the_same_graph_with_wide_constants(graph: onnx.ModelProto, tiny_bundle: Bundle) -> None:
    wide = in_precision(graph, "f32")
    assert TensorProto.FLOAT16 not in set(types(wide).values())
    views, expected = tiny_bundle.golden()
    session = onnxruntime.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.abs(np.asarray(session.run(["logits"], views)[0]) - expected).max() < 1e-5


def test_statistics_of_noise_stay_wide(tmp_path: Path) -> None:
    """Their squares and fourth powers are beyond float16: infinite, were they between products of half."""
    torch.manual_seed(0)
    tower, view = StatisticsTower(), ViewSpec(name="picture", kind="global", size=64)
    probe = Probe(tower, 0)
    torch.nn.init.normal_(probe.branch.head.weight, std=0.2)
    ensemble = Ensemble(tower, [probe.branch], [view], [view.name]).eval().requires_grad_(False)
    export_onnx(ensemble, tmp_path / "graph.onnx")
    pictures = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    expected = ensemble({view.name: pictures}).numpy()
    model = in_precision(onnx.load(tmp_path / "graph.onnx"), "f16")
    assert [types(model)[n.output[0]] for n in model.graph.node if n.op_type == "Conv"] == [HALF["f16"]] * 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    error = np.abs(np.asarray(session.run(["logits"], {view.name: pictures.numpy()})[0]) - expected).max()
    assert 0 < error < 0.01


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_products_run_in_half_but_for_the_heads_and_norms_stay_wide(
    graph: onnx.ModelProto, precision: Precision
) -> None:
    model = in_precision(graph, precision)
    onnx.checker.check_model(model, full_check=True)
    known = types(model)
    by_type = {
        kind: Counter(
            known[node.output[0]] for node in model.graph.node if node.op_type in wanted and node.output
        )
        for kind, wanted in {"products": PRODUCTS, "norms": {"LayerNormalization"}}.items()
    }
    assert by_type["products"][TensorProto.FLOAT] == 3  # the heads
    assert by_type["products"][HALF[precision]] > 20
    assert set(by_type["norms"]) == {TensorProto.FLOAT}


@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
def test_bytes_are_cast_where_they_enter_and_logits_leave_wide(
    graph: onnx.ModelProto, precision: Precision
) -> None:
    model = in_precision(graph, precision)
    names = {tensor.name for tensor in model.graph.input}
    readers = [node for node in model.graph.node if names.intersection(node.input)]
    assert [node.op_type for node in readers] == ["Cast"] * len(names)
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_no_constant_is_kept_twice_without_need(graph: onnx.ModelProto) -> None:
    full, half = (in_precision(graph, precision).ByteSize() for precision in ("f32", "f16"))
    assert half < 0.8 * full


def test_the_given_graph_is_left_alone(graph: onnx.ModelProto) -> None:
    before = graph.SerializeToString()
    in_precision(graph, "f16")
    assert graph.SerializeToString() == before


def test_a_graph_of_one_product_stays_wide() -> None:
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
                helper.make_node("MatMul", ["f", "w"], ["logits"]),
            ],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 4])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
            [weight],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    assert set(types(in_precision(model, "f16")).values()) == {TensorProto.UINT8, TensorProto.FLOAT}


def test_what_is_in_a_precision_can_be_given_another(graph: onnx.ModelProto) -> None:
    once, twice = (
        Counter(node.SerializeToString() for node in in_precision(model, "f16").graph.node)
        for model in (graph, in_precision(graph, "f32"))
    )
    assert twice == once


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_what_is_in_half_stays_as_it_is(graph: onnx.ModelProto, precision: Precision) -> None:
    once = in_precision(graph, precision)
    for again in ("f32", "f16", "bf16"):
        twice = in_precision(once, again)
        onnx.checker.check_model(twice, full_check=True)
        assert list(twice.graph.node) == list(once.graph.node)


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_quantised_weights_reach_their_products_with_no_cast_between(
    tiny_bundle: Bundle, graph: onnx.ModelProto, precision: Precision
) -> None:
    model = in_precision(quantised(graph, [tiny_bundle.golden()[0]], INT8), precision)
    makers = {name: node for node in model.graph.node for name in node.output}
    products = [node for node in model.graph.node if node.op_type in PRODUCTS]
    dequantised = [
        [makers[name].op_type for name in node.input[:2]]
        for node in products
        if node.input[1] in makers and makers[node.input[1]].op_type == "DequantizeLinear"
    ]
    assert len(dequantised) > len(products) / 3
    assert all(kinds == ["DequantizeLinear", "DequantizeLinear"] for kinds in dequantised)
    known = types(model)
    stored = {node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert {known[makers[name].output[0]] for name in stored if name in makers} == {TensorProto.INT8}


def test_a_scale_too_small_for_float16_does_not_become_zero() -> None:
    scales = np.array([1e-12, 0.5, 0.0], np.float32)
    node = helper.make_node("DequantizeLinear", ["x", "scales"], ["y"], axis=0)
    made = [helper.make_node("MatMul", ["y", "y"], ["z"]), helper.make_node("MatMul", ["z", "z"], ["out"])]
    graph = helper.make_graph(
        [node, *made],
        "scales",
        [helper.make_tensor_value_info("x", TensorProto.INT8, [3, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [3, 3])],
        [numpy_helper.from_array(scales, "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    (narrow,) = in_precision(model, "f16").graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(narrow), np.array([2**-24, 0.5, 0], np.float16))
