"""Building an engine on a machine whose TensorRT is tensorrt-rtx and whose GPU is ONNX Runtime.

That real plans come out is tested in integration/test_compile_check.py, where it takes its seconds.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorrt_rtx
from cuda.bindings import runtime
from numpy.typing import NDArray

from models.bundle import Bundle
from models.engine_file import EngineFileError, Profile, read_engine, sidecar_path
from models.gpu import Gpu, NoGpu
from trt_build import machine as machine_module
from trt_build.build import BadEngine, Built, build_engine, find_engine, verify_engine
from trt_build.machine import LocalMachine, NoMachine, PlanRun, Views
from trt_build.network import BatchRange, CompileFault, parse

BATCHES = (2, 4)


class FakeMachine:
    """Parses for real and sets the profiles; its plan is the graph, which ONNX Runtime runs."""

    def __init__(self) -> None:
        self.gpu, self.tensorrt = Gpu("NVIDIA L4", 89, 13000), tensorrt_rtx.__version__
        self.compiled: list[Sequence[BatchRange]] = []
        self.ran: list[tuple[int, int]] = []
        self.drift = 0.0  # added to every logit

    def compile(self, graph: onnx.ModelProto, profiles: Sequence[BatchRange]) -> bytes:
        self.compiled.append(profiles)
        config = parse(tensorrt_rtx, graph).config(profiles)
        assert config.num_optimization_profiles == len(profiles)
        return bytes(graph.SerializeToString())

    def load(self, plan: bytes) -> Callable[[int, Views], NDArray[np.float32]]:
        session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])

        def run(profile: int, views: Views) -> NDArray[np.float32]:
            self.ran.append((profile, len(next(iter(views.values())))))
            return np.asarray(session.run(["logits"], dict(views))[0]) + np.float32(self.drift)

        return run


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


def build(bundle: Bundle, folder: Path, machine: FakeMachine, **options: Any) -> Built:
    return build_engine(bundle, folder, machine, **{"batches": BATCHES, "slots": 2, **options})


def test_an_engine_is_built_checked_and_fits(
    tmp_path: Path, tiny_bundle: Bundle, machine: FakeMachine
) -> None:
    built = build(tiny_bundle, tmp_path, machine)
    assert machine.compiled == [[BatchRange(b, b, b) for b in (2, 4, 2, 4)]]
    assert machine.ran == [(0, 2), (1, 4), (2, 2), (3, 4)]
    assert 0 < built.golden_error < 0.01
    sidecar, plan = read_engine(built.path, tiny_bundle, machine.gpu, machine.tensorrt)
    assert plan == built.path.read_bytes()
    assert sidecar == built.sidecar
    assert (sidecar.precision, sidecar.batches, sidecar.slots) == ("f16", BATCHES, 2)
    assert sidecar.profiles[sidecar.profile(1, 4)] == Profile(slot=1, batch=4)
    assert {file.name for file in tmp_path.iterdir()} == {built.path.name, sidecar_path(built.path).name}


def test_an_engine_that_fits_is_not_built_again(
    tmp_path: Path, tiny_bundle: Bundle, machine: FakeMachine
) -> None:
    first = build(tiny_bundle, tmp_path, machine)
    again = build(tiny_bundle, tmp_path, machine)
    assert (first.reused, again.reused, len(machine.compiled)) == (False, True, 1)
    assert again.sidecar == first.sidecar


@pytest.mark.parametrize("change", ["precision", "batches", "slots", "tensorrt", "file"])
def test_any_difference_builds_it_again(
    tmp_path: Path, tiny_bundle: Bundle, machine: FakeMachine, change: str
) -> None:
    built = build(tiny_bundle, tmp_path, machine)
    options: dict[str, Any] = {}
    if change == "tensorrt":
        fields = json.loads(sidecar_path(built.path).read_text(encoding="utf-8"))
        sidecar_path(built.path).write_text(json.dumps({**fields, "tensorrt": "0"}), encoding="utf-8")
    elif change == "file":
        built.path.write_bytes(b"half a plan")
    else:
        options = {"precision": "f32"} if change == "precision" else {"batches": (2,)}
        options = {"slots": 1} if change == "slots" else options
    assert not build(tiny_bundle, tmp_path, machine, **options).reused
    assert len(machine.compiled) == 2


@pytest.mark.parametrize("drift", [0.2, float("nan")])
def test_an_engine_beyond_tolerance_is_refused_and_not_kept(
    tmp_path: Path, tiny_bundle: Bundle, machine: FakeMachine, drift: float
) -> None:
    machine.drift = drift
    with pytest.raises(BadEngine, match=r"off the golden logits.* at most 0.1 is allowed"):
        build(tiny_bundle, tmp_path, machine)
    assert not list(tmp_path.iterdir())


def test_verify_refuses_a_plan_of_another_sidecar(
    tmp_path: Path, tiny_bundle: Bundle, machine: FakeMachine
) -> None:
    built = build(tiny_bundle, tmp_path, machine)
    assert verify_engine(built.path.read_bytes(), built.sidecar, tiny_bundle, machine) == built.golden_error
    with pytest.raises(BadEngine, match="not the file that its sidecar describes"):
        verify_engine(b"another", built.sidecar, tiny_bundle, machine)


def test_find_engine_says_why_there_is_none(
    tmp_path: Path, tiny_bundle: Bundle, machine: FakeMachine
) -> None:
    with pytest.raises(EngineFileError, match="none was built here"):
        find_engine(tiny_bundle, tmp_path, machine)


def test_without_a_driver_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu() -> Gpu:
        raise NoGpu("there is no NVIDIA driver")

    monkeypatch.setattr(machine_module, "find_gpu", no_gpu)
    with pytest.raises(NoMachine, match=r"^there is no NVIDIA driver$"):
        LocalMachine(tmp_path)


class FakeCuda:
    """cuda.bindings.runtime with host memory: its own enums, and calls that count what they hold."""

    def __init__(self, fail: str = "") -> None:
        self.fail, self.held = fail, list[str]()

    def __getattr__(self, name: str) -> Any:
        real = getattr(runtime, name)
        if isinstance(real, type):
            return real

        def call(*_: object) -> tuple[object, ...]:
            if name == self.fail:
                return (runtime.cudaError_t.cudaErrorMemoryAllocation, None)
            if name in ("cudaMalloc", "cudaStreamCreate"):
                self.held.append(name)
                return (runtime.cudaError_t.cudaSuccess, 64)
            if name in ("cudaFree", "cudaStreamDestroy"):
                self.held.remove({"cudaFree": "cudaMalloc"}.get(name, "cudaStreamCreate"))
            return (runtime.cudaError_t.cudaSuccess,)

        return call


def plan_run(cuda: FakeCuda, **answers: object) -> Callable[[], NDArray[np.float32]]:
    """A plan on mocks of the real classes; `answers` are what a context's calls return."""
    context = Mock(spec=tensorrt_rtx.IExecutionContext)
    for call in (
        "set_optimization_profile_async",
        "set_input_shape",
        "set_tensor_address",
        "execute_async_v3",
    ):
        getattr(context, call).return_value = answers.get(call, True)
    context.get_tensor_shape.return_value = (2, 3)
    engine = Mock(spec=tensorrt_rtx.ICudaEngine)
    engine.create_execution_context.return_value = answers.get("create_execution_context", context)
    made = Mock(spec=tensorrt_rtx.Runtime)
    made.deserialize_cuda_engine.return_value = answers.get("deserialize_cuda_engine", engine)
    trt = SimpleNamespace(Runtime=lambda logger: made, ILogger=tensorrt_rtx.ILogger)
    module = Mock(wraps=trt, Runtime=trt.Runtime, ILogger=trt.ILogger)  # hashable, unlike a namespace
    views = {"crops": np.zeros((2, 8, 8, 3), np.uint8)}
    return lambda: PlanRun(module, cuda, b"plan")(0, views)


def test_a_plan_is_run_and_everything_freed() -> None:
    cuda = FakeCuda()
    assert plan_run(cuda)().shape == (2, 3)
    assert cuda.held == []


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("deserialize_cuda_engine", None),
        ("create_execution_context", None),
        ("set_optimization_profile_async", False),
        ("set_input_shape", False),
        ("set_tensor_address", False),
        ("execute_async_v3", False),
    ],
)
def test_every_refusal_of_tensorrt_raises_and_frees(call: str, answer: object) -> None:
    cuda = FakeCuda()
    with pytest.raises(CompileFault, match=r"TensorRT .*: no reason was given"):
        plan_run(cuda, **{call: answer})()
    assert cuda.held == []


@pytest.mark.parametrize("call", ["cudaStreamCreate", "cudaMalloc", "cudaMemcpy", "cudaStreamSynchronize"])
def test_every_refusal_of_cuda_is_named_and_frees(call: str) -> None:
    cuda = FakeCuda(fail=call)
    with pytest.raises(CompileFault, match=f"{call} failed: cudaErrorMemoryAllocation"):
        plan_run(cuda)()
    assert cuda.held == []
