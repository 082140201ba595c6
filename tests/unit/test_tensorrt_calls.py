"""The real halves of the runner, without a GPU.

TensorRT's calls are held against the classes of tensorrt-rtx, which has the runtime API of TensorRT 11;
CUDA's own bindings answer every call with an error.
"""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorrt_rtx
from cuda.bindings import runtime

from stream.engines import tensorrt_cuda
from stream.engines.tensorrt_cuda import CudaDevice
from stream.engines.tensorrt_plan import TensorRtPlan
from stream.engines.tensorrt_seam import DeviceFault, TensorSpec
from tests.gpu.here import why_no_gpu

SHAPES = {"crops": (-1, 8, 8, 3), "logits": (-1, 3)}
ADDRESSES = {"crops": 0x1000, "logits": 0x2000}
CLASSES = {
    "runtime": tensorrt_rtx.Runtime,
    "engine": tensorrt_rtx.ICudaEngine,
    "context": tensorrt_rtx.IExecutionContext,
}


class FakeTensorRt:
    """A tensorrt module whose objects have the methods of the real classes and no others."""

    def __init__(self) -> None:
        rtx = tensorrt_rtx
        self.objects: dict[str, Any] = {name: Mock(spec=kind) for name, kind in CLASSES.items()}
        context, engine = self.objects["context"], self.objects["engine"]
        self.objects["runtime"].deserialize_cuda_engine.return_value = engine
        engine.create_execution_context.return_value = context
        engine.num_io_tensors, engine.device_memory_size_v2 = 2, 4096
        engine.get_tensor_name.side_effect = list(SHAPES).__getitem__
        engine.get_tensor_shape.side_effect = SHAPES.__getitem__
        modes = {"crops": rtx.TensorIOMode.INPUT, "logits": rtx.TensorIOMode.OUTPUT}
        engine.get_tensor_mode.side_effect = modes.__getitem__
        types = {"crops": rtx.DataType.UINT8, "logits": rtx.DataType.FLOAT}
        engine.get_tensor_dtype.side_effect = types.__getitem__
        for call in ("set_optimization_profile_async", "set_input_shape", "set_tensor_address"):
            getattr(context, call).return_value = True
        context.execute_async_v3.return_value, context.infer_shapes.return_value = True, []
        context.all_binding_shapes_specified = True
        context.get_tensor_shape.side_effect = lambda name: (4, *SHAPES[name][1:])
        self.loggers: list[Any] = []
        self.module = SimpleNamespace(
            Runtime=self._runtime,
            ILogger=rtx.ILogger,
            TensorIOMode=rtx.TensorIOMode,
            ExecutionContextAllocationStrategy=rtx.ExecutionContextAllocationStrategy,
            nptype=rtx.nptype,
        )

    def _runtime(self, logger: Any) -> Any:
        self.loggers.append(logger)
        return self.objects["runtime"]

    def run(self) -> TensorRtPlan:
        """Every call that the runner makes."""
        plan = TensorRtPlan(self.module, b"plan")
        context = plan.context(5, 4)
        context.prepare(ADDRESSES, 0x3000, 7)
        context.enqueue(7)
        return plan


def test_what_is_read_from_an_engine() -> None:
    plan = FakeTensorRt().run()
    assert plan.workspace_bytes == 4096
    assert plan.tensors == (
        TensorSpec("crops", True, np.dtype(np.uint8), (8, 8, 3)),
        TensorSpec("logits", False, np.dtype(np.float32), (3,)),
    )


def test_what_is_said_to_a_context() -> None:
    trt = FakeTensorRt()
    trt.run()
    context = trt.objects["context"]
    context.set_optimization_profile_async.assert_called_once_with(5, 7)
    context.set_device_memory.assert_called_once_with(0x3000, 4096)
    context.set_input_shape.assert_called_once_with("crops", (4, 8, 8, 3))
    assert dict(call.args for call in context.set_tensor_address.call_args_list) == ADDRESSES
    context.execute_async_v3.assert_called_once_with(7)


def test_every_call_fits_the_signature_in_the_real_class() -> None:
    trt = FakeTensorRt()
    trt.run()
    checked = set[str]()
    for name, mock in trt.objects.items():
        for call, arguments, keywords in mock.method_calls:
            assert fits(getattr(CLASSES[name], call), arguments, keywords), f"{name}.{call}{arguments}"
            checked.add(f"{name}.{call}")
    assert checked >= {
        "runtime.deserialize_cuda_engine",
        "engine.get_tensor_dtype",
        "context.execute_async_v3",
    }
    assert len(checked) == 13
    for owner, attribute in (
        ("engine", "num_io_tensors"),
        ("engine", "device_memory_size_v2"),
        ("context", "all_binding_shapes_specified"),
    ):
        assert isinstance(getattr(CLASSES[owner], attribute), property)


def fits(method: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether one of the signatures in a bound method's docstring takes these arguments."""
    found = re.findall(rf"{method.__name__}\(self[^,)]*(?:, )?(.*?)\) -> ", method.__doc__)
    for signature in found:
        names = re.findall(r"(\w+): ", signature)
        needed = len(names) - signature.count(" = ")
        if needed <= len(arguments) + len(keywords) <= len(names) and set(keywords) <= set(names):
            return True
    return False


def test_the_signature_check_refuses_wrong_calls() -> None:
    context = tensorrt_rtx.IExecutionContext
    assert fits(context.set_tensor_address, ("x", 1), {})
    assert not fits(context.set_tensor_address, ("x",), {})
    assert not fits(context.set_tensor_address, ("x", 1, 2), {})
    assert not fits(context.execute_async_v3, (), {"stream": 1})


@pytest.mark.parametrize(
    ("owner", "call", "answer"),
    [
        ("runtime", "deserialize_cuda_engine", None),
        ("engine", "create_execution_context", None),
        ("context", "set_optimization_profile_async", False),
        ("context", "set_input_shape", False),
        ("context", "infer_shapes", ["crops"]),
        ("context", "set_tensor_address", False),
        ("context", "execute_async_v3", False),
    ],
)
def test_every_refusal_is_named_with_what_the_log_says(owner: str, call: str, answer: object) -> None:
    trt = FakeTensorRt()

    def refuse(*_: object) -> object:
        trt.loggers[0].log(tensorrt_rtx.ILogger.ERROR, "because of the moon")
        trt.loggers[0].log(tensorrt_rtx.ILogger.WARNING, "something else")
        return answer

    getattr(trt.objects[owner], call).side_effect = refuse
    with pytest.raises(DeviceFault, match=rf"{call}.* failed: because of the moon"):
        trt.run()


def test_a_refusal_without_a_word_is_named_too() -> None:
    trt = FakeTensorRt()
    trt.objects["context"].all_binding_shapes_specified = False
    with pytest.raises(DeviceFault, match="all_binding_shapes_specified failed and did not say why"):
        trt.run()


def test_an_output_larger_than_its_buffer_is_refused() -> None:
    trt = FakeTensorRt()
    trt.objects["context"].get_tensor_shape.side_effect = lambda name: (4, *SHAPES[name][1:], 2)
    with pytest.raises(DeviceFault, match=r"gives crops the shape \(4, 8, 8, 3, 2\)"):
        trt.run()


HOST = np.zeros(4, np.uint8)
CALLS: dict[str, tuple[str, Callable[[CudaDevice], object]]] = {
    "stream": ("cudaStreamCreateWithFlags", lambda device: device.stream()),
    "event": ("cudaEventCreateWithFlags", lambda device: device.event()),
    "pinned": ("cudaHostAlloc", lambda device: device.pinned(16)),
    "alloc": ("cudaMalloc", lambda device: device.alloc(16)),
    "h2d": ("cudaMemcpyAsync", lambda device: device.h2d(1, HOST, 2)),
    "d2h": ("cudaMemcpyAsync", lambda device: device.d2h(HOST, 1, 2)),
    "record": ("cudaEventRecord", lambda device: device.record(1, 2)),
    "wait": ("cudaEventSynchronize", lambda device: device.wait(1)),
    "sync": ("cudaStreamSynchronize", lambda device: device.sync(1)),
    "capture": ("cudaStreamBeginCapture", lambda device: device.capture(1, lambda: None)),
    "launch": ("cudaGraphLaunch", lambda device: device.launch(1, 2)),
}


@pytest.mark.skipif(not why_no_gpu(), reason="the calls use made-up handles, which a driver would follow")
@pytest.mark.parametrize("name", CALLS)
def test_without_a_driver_every_cuda_call_raises_and_names_itself(name: str) -> None:
    function, call = CALLS[name]
    with pytest.raises(DeviceFault, match=f"^{function} failed: cudaErrorInsufficientDriver$"):
        call(CudaDevice())


class FakeRuntime:
    """CUDA's runtime API with real enums; each call succeeds, but for those named in `fail`."""

    def __init__(self, fail: set[str]) -> None:
        self.fail, self.calls = fail, list[str]()

    def __getattr__(self, name: str) -> Any:
        real = getattr(runtime, name)  # no call that the bindings do not have
        if isinstance(real, type | int):
            return real

        def call(*_: object) -> tuple[object, ...]:
            self.calls.append(name)
            status = runtime.cudaError_t.cudaErrorLaunchFailure if name in self.fail else real_success
            makes = name.endswith(("WithFlags", "Malloc", "EndCapture", "Instantiate"))
            return (status, 64) if makes else (status,)

        return call


real_success = runtime.cudaError_t.cudaSuccess


def test_everything_is_freed_in_reverse_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuntime(fail={"cudaFree"})  # what cannot be freed does not keep the rest
    monkeypatch.setattr(tensorrt_cuda, "runtime", fake)
    device = CudaDevice()
    stream = device.stream()
    device.event()
    device.alloc(16)
    device.capture(stream, lambda: None)
    made = len(fake.calls)
    device.close()
    device.close()
    freed = ["cudaGraphExecDestroy", "cudaFree", "cudaEventDestroy", "cudaStreamDestroy"]
    assert fake.calls[made:] == freed


def test_a_capture_ends_where_its_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuntime(fail={"cudaGraphLaunch", "cudaStreamEndCapture"})
    monkeypatch.setattr(tensorrt_cuda, "runtime", fake)
    device = CudaDevice()
    with pytest.raises(DeviceFault, match="cudaGraphLaunch failed: cudaErrorLaunchFailure"):
        device.capture(1, lambda: device.launch(2, 1))
    assert fake.calls == ["cudaStreamBeginCapture", "cudaGraphLaunch", "cudaStreamEndCapture"]


@pytest.mark.parametrize("call", ["cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy"])
def test_a_capture_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(tensorrt_cuda, "runtime", FakeRuntime(fail={call}))
    with pytest.raises(DeviceFault, match=f"{call} failed"):
        CudaDevice().capture(1, lambda: None)
