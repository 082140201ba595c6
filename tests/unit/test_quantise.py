"""A bundle of 8 bits is let through where it keeps what its detectors tell apart, and serves like others."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from typer.testing import CliRunner

from models.bundle import ONNX, Bundle
from models.data import Split, split_pictures
from models.layouts import scan
from models.policy_fit import Rates
from models.scoring import Views
from models.spec import Quantisation
from stream.cli import build
from stream.engines.choose import load_engine
from stream.engines.onnxruntime import OnnxRuntimeEngine
from stream.engines.openvino import OpenVinoEngine
from stream.errors import ConfigError
from stream.settings import load_settings
from trt_build import quantise
from trt_build.eight_bits import FP8, INT8, Kind, eight_bit_products
from trt_build.graph_file import SUFFIX, read_graph
from trt_build.precision import PRODUCTS, in_precision
from trt_build.qdq import QuantisationError, quantised
from trt_build.quantise import gate, quantise_bundle, require_accepted
from trt_build.verify import golden_difference

RATES = Rates(synthetic=0.2, suspicious=0.4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, and what two made-up generators turn it into."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("real/noise", "fake/blur", "fake/dark"):
        (root / name).mkdir(parents=True)
    for index in range(40):
        picture = Image.fromarray(rng.integers(0, 256, (144, 160, 3), dtype=np.uint8))
        picture.save(root / "real/noise" / f"{index}.png")
        if index % 2:
            picture.resize((40, 36)).resize((160, 144)).save(root / "fake/blur" / f"{index}.png")
        else:
            picture.point(lambda value: value // 2).save(root / "fake/dark" / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def split(data: Path) -> Split:
    return split_pictures(scan(data), shares=(0.3, 0.5))


@pytest.fixture(scope="module")
def int8(tiny_bundle: Bundle, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return quantise_bundle(tiny_bundle, split, tmp_path_factory.mktemp("int8") / "bundle", RATES, 0.2).bundle


@pytest.fixture(scope="module")
def fp8(tiny_bundle: Bundle, split: Split, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With its weights beside the graph, as those beyond 2 GiB are."""
    out = tmp_path_factory.mktemp("fp8") / "bundle"
    return quantise_bundle(tiny_bundle, split, out, RATES, 0.2, FP8, one_file=0).bundle


def noise(bundle: Bundle, count: int) -> Views:
    rng = np.random.default_rng(7)
    views = bundle.manifest.views
    return {view.name: rng.integers(0, 256, (count, view.size, view.size, 3), np.uint8) for view in views}


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}


def test_the_manifest_says_what_it_was_made_of_and_what_the_gate_found(
    tiny_bundle: Bundle, int8: Bundle
) -> None:
    found = int8.manifest.quantisation
    assert found is not None
    assert found.source == tiny_bundle.id != int8.id
    assert set(found.auc) == {detector.name for detector in tiny_bundle.manifest.detectors}
    assert all(before - after <= 0.2 for before, after in (*found.auc.values(), found.score_auc))
    assert 0 < found.largest_drift < 0.5
    assert int8.manifest.policy.basis != tiny_bundle.manifest.policy.basis  # set on its own logits
    assert "int8" in (int8.path / "model_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [INT8, FP8])
def test_weights_are_8_bits_and_inputs_and_logits_stay_what_they_were(
    kind: Kind, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(kind.name)
    graph = read_graph(bundle.onnx).graph
    kinds = {
        weight.data_type for weight in graph.initializer if np.prod(weight.dims) == 1 or len(weight.dims) > 1
    }
    assert kind.stored in kinds
    assert onnx.TensorProto.UINT8 not in kinds  # TensorRT takes symmetric int8 only
    assert {entry.type.tensor_type.elem_type for entry in graph.input} == {onnx.TensorProto.UINT8}
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    narrow = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    products = [node for node in graph.node if node.op_type in PRODUCTS]
    first, last = products[0], products[-1]
    assert narrow.isdisjoint(first.input)
    assert narrow.isdisjoint(last.input)
    assert sum(not narrow.isdisjoint(node.input) for node in products) > len(products) / 3


def test_weights_are_the_nearest_numbers_of_8_bits_and_use_their_range(tiny_bundle: Bundle) -> None:
    graph = read_graph(tiny_bundle.onnx)
    floats = constants(in_precision(graph, "f32"))
    for kind, step in ((INT8, 0.5), (FP8, 16)):  # half of what lies between two numbers at the range's end
        made = quantised(graph, [noise(tiny_bundle, 1)], kind)
        known = constants(made)
        weights = [node for node in made.graph.node if set(node.input) <= known.keys()]
        assert len(weights) > 20
        for node in weights:
            stored, scale = (known[name].astype(np.float64) for name in node.input)
            (axis,) = (one.i for one in node.attribute if one.name == "axis")
            stored = np.moveaxis(stored, axis, -1)
            others = tuple(range(stored.ndim - 1))
            original = np.moveaxis(floats[node.output[0].split(".dequantised")[0]], axis, -1)
            np.testing.assert_array_equal(np.abs(stored).max(axis=others), kind.largest_weight)
            assert (np.abs(stored * scale - original) <= 1.001 * step * scale).all()


def test_a_graph_beyond_one_file_becomes_the_same(tiny_bundle: Bundle, fp8: Bundle) -> None:
    graph, pictures = read_graph(tiny_bundle.onnx), [noise(tiny_bundle, 1)]
    assert quantised(graph, pictures, INT8, one_file=0) == quantised(graph, pictures, INT8)
    assert (fp8.path / (ONNX + SUFFIX)).stat().st_size > fp8.onnx.stat().st_size
    assert golden_difference(fp8) < 1e-4


def test_engines_serve_it_alike_whatever_the_batch(int8: Bundle) -> None:
    views, allowed = noise(int8, 6), int8.manifest.golden_tolerance["int8"]
    openvino, other = OpenVinoEngine(int8, 1, 8), OnnxRuntimeEngine(int8, 1, 8)
    assert openvino.precision == other.precision == "int8"
    whole = openvino.score(views)
    assert np.abs(whole - other.score(views)).max() < allowed
    for engine in (openvino, other):
        together = engine.score(views)
        alone = [engine.score({name: one[i : i + 1] for name, one in views.items()}) for i in range(6)]
        np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-3)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_worker_loads_it_after_the_same_self_test(int8: Bundle, name: str) -> None:
    settings = load_settings(engine=name, threads=1)
    assert load_engine(int8, settings).precision == "int8"


def test_a_worker_serves_fp8_where_it_is_computed_as_judged(fp8: Bundle) -> None:
    assert load_engine(fp8, load_settings(engine="onnxruntime", threads=1)).precision == "fp8"
    with pytest.raises(ConfigError, match=r"is fp8, .* TensorRT .* PIXASSAY_ENGINE=onnxruntime"):
        load_engine(fp8, load_settings(engine="openvino", threads=1))


def test_a_graph_that_tells_nothing_apart_is_refused_and_nothing_is_written(
    tiny_bundle: Bundle, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges set on black pictures clip everything that others show."""

    def black(*_: object) -> list[Views]:
        return [{name: array * 0 for name, array in noise(tiny_bundle, 2).items()}]

    monkeypatch.setattr(quantise, "_batches", black)
    told: list[Quantisation] = []
    with pytest.raises(QuantisationError, match=r"int8 loses more than 0 of AUC .* nothing was written"):
        quantise_bundle(tiny_bundle, split, tmp_path / "out", Rates(), 0.0, told=told.append)
    assert list(tmp_path.iterdir()) == []
    assert told[0].pictures == len(split.validation)


def test_the_command_refuses_with_a_sentence(int8: Bundle, data: Path, tmp_path: Path) -> None:
    arguments = [str(int8.path), "--data", str(data), "--out", str(tmp_path / "again")]
    result = CliRunner().invoke(build("engine"), ["engine", "quantise", *arguments])
    assert result.exit_code != 0
    assert "is int8 already" in str(result.exception or result.output)
    assert not (tmp_path / "again").exists()


def test_the_gate_sees_no_loss_in_the_graph_itself(tiny_bundle: Bundle, split: Split) -> None:
    found = gate(tiny_bundle, tiny_bundle, split.validation[::4], INT8, 1, 0.0)
    require_accepted(found)
    assert found.largest_drift == 0
    assert all(before == after for before, after in found.auc.values())


def test_one_detector_beyond_the_limit_is_enough() -> None:
    found = Quantisation(
        source="a", calibration_pictures=1, pictures=2, max_auc_loss=0.01, auc={"one": (0.9, 0.8)},
        score_auc=(0.9, 0.9), largest_drift=0.1,
    )  # fmt: skip
    with pytest.raises(QuantisationError, match=r"\(one 0\.1000\)"):
        require_accepted(found)
    require_accepted(found.model_copy(update={"auc": {"one": (0.9, 0.89)}, "max_auc_loss": 0.02}))


def test_depthwise_products_of_activations_and_heads_stay_in_float() -> None:
    weight = onnx.numpy_helper.from_array(np.zeros((4, 4, 1, 1), np.float32), "w")
    thin = onnx.numpy_helper.from_array(np.zeros((4, 1, 1, 1), np.float32), "thin")
    make = onnx.helper.make_node
    chain = [make("Conv", [f"x{i}", "w"], [f"x{i + 1}"], name=f"conv{i}") for i in range(8)]
    chain.append(make("Conv", ["x8", "thin"], ["x9"], name="depthwise", group=4))
    chain.append(make("MatMul", ["x9", "x9"], ["x10"], name="attention"))
    chain.append(make("Conv", ["x10", "w"], ["x11"], name="head"))
    graph = onnx.helper.make_graph(chain, "chain", [], [], [weight, thin])
    assert eight_bit_products(graph, INT8) == ["conv6", "conv7"]
    assert eight_bit_products(graph, FP8) == []  # no matrix products with weights
