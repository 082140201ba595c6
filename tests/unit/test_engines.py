"""The CPU engine against onnxruntime, the self-test before it is used, and the choice of an engine."""

import logging
import math
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset13

from models.bundle import Bundle, write_bundle
from models.gpu import Gpu, NoGpu
from models.heads import keep_heads_in_float
from stream.engines import choose, cpu_plan
from stream.engines.choose import golden_error, load_engine
from stream.engines.cpu_plan import Plan, best_plan, plans
from stream.engines.onnxruntime import OnnxRuntimeEngine
from stream.engines.openvino import OpenVinoEngine, computes_bf16
from stream.errors import ConfigError
from stream.settings import load_settings

Arrays = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle) -> OpenVinoEngine:
    return OpenVinoEngine(tiny_bundle, threads=1, max_batch=16)


def noise(bundle: Bundle, count: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    views = bundle.manifest.views
    return {view.name: rng.integers(0, 256, (count, view.size, view.size, 3), np.uint8) for view in views}


def reference(bundle: Bundle, views: Arrays) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(bundle.onnx), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], views)[0])


def tolerance(bundle: Bundle, engine: OpenVinoEngine) -> float:
    return bundle.manifest.golden_tolerance[engine.precision]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_the_same_logits_as_onnxruntime(tiny_bundle: Bundle, engine: OpenVinoEngine, count: int) -> None:
    views = noise(tiny_bundle, count)
    logits = engine.score(views)
    assert logits.dtype == np.float32
    assert logits.shape == (count, len(tiny_bundle.manifest.detectors))
    assert np.abs(logits - reference(tiny_bundle, views)).max() < tolerance(tiny_bundle, engine)


def test_logits_are_float32_whatever_products_are_computed_in(
    tiny_bundle: Bundle, engine: OpenVinoEngine
) -> None:
    bits = engine.score(noise(tiny_bundle, 16)).view(np.uint32)
    assert (bits & 0xFFFF != 0).mean() > 0.9  # bfloat16 has none of the lower 16


def test_heads_are_found_and_computed_alike(tiny_bundle: Bundle) -> None:
    core, views = openvino.Core(), noise(tiny_bundle, 4)
    model = core.read_model(tiny_bundle.onnx)
    assert keep_heads_in_float(model) == len(tiny_bundle.manifest.detectors)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(views)[0] - reference(tiny_bundle, views)).max() < 1e-4


@pytest.mark.parametrize("transpose", [False, True])
def test_a_product_of_several_outputs_or_with_another_behind_it_is_no_head(transpose: bool) -> None:
    features = opset13.parameter([-1, 6], np.float32)

    def product(inputs: openvino.Node, rows: int, columns: int) -> openvino.Node:
        shape = (columns, rows) if transpose else (rows, columns)
        weights = np.arange(rows * columns, dtype=np.float32).reshape(shape)
        return opset13.matmul(inputs, weights, False, transpose)

    inner = product(features, 6, 1)  # followed by a product
    outputs = [product(inner, 1, 1), product(features, 6, 2)]
    model = openvino.Model(outputs, [features])
    given = np.ones((3, 6), np.float32)
    expected = [np.array(each) for each in openvino.compile_model(model, "CPU")(given).values()]
    assert keep_heads_in_float(model) == 1
    found = openvino.compile_model(model, "CPU")(given).values()
    assert all(np.allclose(a, b) for a, b in zip(found, expected, strict=True))


def test_a_score_depends_on_its_own_picture_only(tiny_bundle: Bundle, engine: OpenVinoEngine) -> None:
    views = noise(tiny_bundle, 16)
    whole = engine.score(views)
    for size in (1, 3, 5):
        alone = engine.score({name: array[4 : 4 + size] for name, array in views.items()})
        np.testing.assert_allclose(alone, whole[4 : 4 + size], atol=tolerance(tiny_bundle, engine) / 10)
    others = {name: np.concatenate([array[:1], 255 - array[1:]]) for name, array in views.items()}
    np.testing.assert_array_equal(engine.score(others)[0], whole[0])


def test_an_answer_is_not_overwritten_by_the_next(tiny_bundle: Bundle, engine: OpenVinoEngine) -> None:
    first = engine.score(noise(tiny_bundle, 4, seed=1))
    kept = first.copy()
    engine.score(noise(tiny_bundle, 4, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_arrays_that_are_not_contiguous(tiny_bundle: Bundle, engine: OpenVinoEngine) -> None:
    views = noise(tiny_bundle, 6)
    strided = {name: array[::2] for name, array in views.items()}
    np.testing.assert_array_equal(
        engine.score(strided), engine.score({name: array.copy() for name, array in strided.items()})
    )


def test_batches_side_by_side_do_not_mix(tiny_bundle: Bundle, engine: OpenVinoEngine) -> None:
    wide = OpenVinoEngine(tiny_bundle, threads=2, max_batch=16, streams=2)
    assert wide.callers == 2
    batches = [noise(tiny_bundle, count % 5 + 1, seed=count) for count in range(12)]
    with ThreadPoolExecutor(2) as pool:
        for views, logits in zip(batches, pool.map(wide.score, batches), strict=True):
            np.testing.assert_allclose(logits, engine.score(views), atol=tolerance(tiny_bundle, engine) / 10)


def test_what_was_measured_is_kept(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_plan, "_TURN_S", 0.0)  # one batch a turn
    monkeypatch.setattr(cpu_plan, "_ENOUGH_S", 0.0)
    tried = plans(2, 8)
    assert set(tried) == {Plan(2, 1, 4), Plan(2, 1, 8), Plan(2, 2, 4), Plan(2, 2, 8)}
    assert best_plan(tiny_bundle, 2, 8, tmp_path) in tried
    (file,) = tmp_path.iterdir()
    file.write_text('{"threads": 2, "streams": 7, "batch": 3}')
    assert best_plan(tiny_bundle, 2, 8, tmp_path) == Plan(2, 7, 3)
    file.write_text("half a fi")
    assert best_plan(tiny_bundle, 2, 8, tmp_path) in tried


def test_plans_are_measured_with_one_engine_in_memory(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory: weakref.WeakSet[OpenVinoEngine] = weakref.WeakSet()
    compiled = []

    class Counted(OpenVinoEngine):
        def __init__(self, bundle: Bundle, threads: int, max_batch: int, streams: int) -> None:
            assert not in_memory
            in_memory.add(self)
            compiled.append((max_batch, streams))
            super().__init__(bundle, threads, max_batch, streams)

    monkeypatch.setattr(cpu_plan, "_TURN_S", 0.0)
    monkeypatch.setattr(cpu_plan, "_TURNS", 1)
    monkeypatch.setattr(cpu_plan, "_ENOUGH_S", math.inf)
    monkeypatch.setattr(cpu_plan, "OpenVinoEngine", Counted)
    rates = cpu_plan.measure(tiny_bundle, plans(2, 8))
    assert not in_memory
    assert compiled == [(8, 1), (8, 2), (8, 2), (8, 1)]
    assert list(rates) == plans(2, 8)
    assert min(rates.values()) > 0


def test_onnxruntime_where_openvino_is_missing(
    tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Gpu:
        raise NoGpu("there is no NVIDIA driver (in this test)")

    monkeypatch.setattr(choose, "find_gpu", none)
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
    engine = load_engine(tiny_bundle, load_settings(threads=1))
    assert isinstance(engine, OnnxRuntimeEngine)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["OpenVINO is not installed here: ONNX Runtime runs the detectors, in float32"]
    views = noise(tiny_bundle, 3)
    np.testing.assert_array_equal(engine.score(views), reference(tiny_bundle, views))


def test_a_machine_without_any_engine_says_what_to_install(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install openvino"):
        load_engine(tiny_bundle, load_settings(engine="onnxruntime", threads=1))


def test_auto_says_what_runs_and_why(tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="stream.engines.choose"):
        engine = load_engine(tiny_bundle, load_settings(engine="auto", threads=1))
    assert engine.name in ("openvino", "tensorrt")
    assert f"engine: {engine.name} in {engine.precision}" in caplog.text
    assert golden_error(engine, tiny_bundle) <= tiny_bundle.manifest.golden_tolerance[engine.precision]
    engine.close()


def test_auto_without_a_gpu(
    tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Gpu:
        raise NoGpu("there is no NVIDIA driver (in this test)")

    monkeypatch.setattr(choose, "find_gpu", none)
    with caplog.at_level(logging.INFO, logger="stream.engines.choose"):
        assert load_engine(tiny_bundle, load_settings(threads=1)).name == "openvino"
    assert "there is no NVIDIA driver (in this test)" in caplog.text


def test_auto_with_a_gpu_that_cannot_be_used_warns_once(
    tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(bundle: Bundle, folder: Path) -> None:
        raise ConfigError("no engine was built here")

    monkeypatch.setattr(choose, "find_gpu", lambda: Gpu("NVIDIA L4", 89, 13000))
    monkeypatch.setattr(choose, "load_tensorrt", refuse)
    assert load_engine(tiny_bundle, load_settings(threads=1)).name == "openvino"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["the GPU NVIDIA L4 is not used: no engine was built here"]


def test_tensorrt_that_is_not_to_be_had_is_said_so(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TensorRT"):
        load_engine(tiny_bundle, load_settings(engine="tensorrt", engines=tmp_path))


def changed(bundle: Bundle, folder: Path, logits: NDArray[np.float32]) -> Bundle:
    """A bundle that promises other golden logits."""
    views, _ = bundle.golden()
    for name in ("ensemble.onnx", "model_card.md"):
        (folder / name).write_bytes((bundle.path / name).read_bytes())
    np.savez(folder / "golden.npz", allow_pickle=False, logits=logits, **views)
    fields = bundle.manifest.model_dump(by_alias=True, exclude={"files"})
    return write_bundle(folder, fields)


@pytest.mark.parametrize("shift", [1.0, np.nan])
def test_an_engine_that_computes_something_else_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, shift: float
) -> None:
    _, logits = tiny_bundle.golden()
    wrong = changed(tiny_bundle, tmp_path, logits + np.float32(shift))
    with pytest.raises(ConfigError, match="off the golden logits"):
        load_engine(wrong, load_settings(engine="openvino", threads=1))


def test_a_graph_that_is_none_is_a_config_error(tiny_bundle: Bundle, tmp_path: Path) -> None:
    broken = changed(tiny_bundle, tmp_path, tiny_bundle.golden()[1])
    broken.onnx.write_bytes(b"not a graph")
    with pytest.raises(ConfigError, match="OpenVINO cannot run"):
        OpenVinoEngine(broken, threads=1, max_batch=4)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2 avx512f", False), ("fpu avx512_bf16", True), ("fpu amx_tile amx_bf16", True), ("", False)],
)
def test_bf16_only_where_the_cpu_computes_in_it(tmp_path: Path, flags: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert computes_bf16(cpuinfo) is expected
    assert not computes_bf16(tmp_path / "missing")
