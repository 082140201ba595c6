"""On a GPU: build an engine, load it into the runner, and hold it against the graph. Skipped elsewhere."""

from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.engine_file import Precision
from stream.engines.tensorrt import TensorRtEngine, load_tensorrt
from stream.errors import ConfigError
from tests.gpu.here import why_no_gpu
from trt_build.build import build_engine
from trt_build.eight_bits import FP8, INT8, Kind
from trt_build.graph_file import on_disk, read_graph
from trt_build.machine import LocalMachine
from trt_build.network import BatchRange
from trt_build.precision import in_precision
from trt_build.qdq import quantised
from trt_build.verify import run_onnx

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu() or "there is a GPU"),
]
TOLERANCE: dict[Precision, float] = {"f32": 1e-3, "f16": 0.01, "bf16": 0.05}


def loaded(bundle: Bundle, folder: Path, precision: Precision) -> TensorRtEngine:
    build_engine(bundle, folder, LocalMachine(folder), precision, batches=(1, 4, 8))
    return load_tensorrt(bundle, folder)


@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
def test_the_runner_gives_the_logits_of_the_graph(
    tmp_path: Path, tiny_bundle: Bundle, precision: Precision
) -> None:
    engine = loaded(tiny_bundle, tmp_path, precision)
    golden, _ = tiny_bundle.golden()
    try:
        for count in (1, 3, 8, 37):
            rows = np.resize(np.arange(4), count)
            views = {name: array[rows] for name, array in golden.items()}
            error = np.abs(engine.score(views) - run_onnx(tiny_bundle.onnx, views)).max()
            assert error < TOLERANCE[precision]
    finally:
        engine.close()


@pytest.mark.parametrize("kind", [INT8, FP8])
def test_8_bit_products_give_the_logits_of_the_graph(tmp_path: Path, tiny_bundle: Bundle, kind: Kind) -> None:
    machine = LocalMachine(tmp_path)
    if kind is FP8 and machine.gpu.sm < 89:
        pytest.skip(f"{machine.gpu.name} has no FP8")
    golden, _ = tiny_bundle.golden()
    graph = quantised(read_graph(tiny_bundle.onnx), [golden], kind)
    with on_disk(graph) as path:
        expected = run_onnx(path, golden)
    run = machine.load(machine.compile(in_precision(graph, "f16"), [BatchRange(4, 4, 4)]))
    assert np.abs(run(0, golden) - expected).max() < 0.1  # a rounding step off here and there


def test_an_engine_is_reused_and_its_timings_are_kept(tmp_path: Path, tiny_bundle: Bundle) -> None:
    machine = LocalMachine(tmp_path)
    assert not build_engine(tiny_bundle, tmp_path, machine, batches=(1, 4)).reused
    assert build_engine(tiny_bundle, tmp_path, machine, batches=(1, 4)).reused
    assert list(tmp_path.glob("timing-*.cache"))


def test_without_an_engine_the_command_is_named(tmp_path: Path, tiny_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"none was built here.*pixassay engine build"):
        load_tensorrt(tiny_bundle, tmp_path)
