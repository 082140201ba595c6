"""A GPU of numpy arrays behind the runner's seam: its streams run late, and ONNX Runtime computes.

Work that is queued on a stream runs only when somebody waits for an event behind it, as late as a
GPU may. Whoever reads or overwrites a buffer too early therefore gets wrong numbers.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from stream.engines.tensorrt_seam import DeviceFault, Host, TensorSpec

Work = Callable[[], None]
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(float)": np.dtype(np.float32),
}


class FakeDevice:
    """Implements seam.Device. `calls` holds every call as (name, stream or event or None)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int | None]] = []
        self.fail: tuple[str, int] | None = None  # this call raises from its nth time on
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.pending: dict[int, list[Work]] = {}  # stream -> what it still has to do
        self.events: dict[int, tuple[int, int] | None] = {}  # event -> stream, length when recorded
        self.graphs: dict[int, list[Work]] = {}
        self.on_wait: Callable[[], None] = lambda: None
        self.closed = False
        self._capturing: tuple[int, list[Work]] | None = None
        self._seen: Counter[str] = Counter()
        self._done: Counter[int] = Counter()  # stream -> operations that ran
        self._next = 0x1000
        self._lock = threading.RLock()

    def stream(self) -> int:
        handle = self._handle("stream")
        self.pending[handle] = []
        return handle

    def event(self) -> int:
        handle = self._handle("event")
        self.events[handle] = None
        return handle

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        self._handle("pinned")
        return np.zeros(nbytes, np.uint8)

    def alloc(self, nbytes: int) -> int:
        address = self._handle("alloc")
        self.memory[address] = np.zeros(nbytes, np.uint8)
        return address

    def h2d(self, to: int, source: Host, stream: int) -> None:
        def copy() -> None:
            self.memory[to][: source.nbytes] = source.reshape(-1).view(np.uint8)

        self.queue("h2d", stream, copy)

    def d2h(self, to: Host, source: int, stream: int) -> None:
        def copy() -> None:
            to.reshape(-1).view(np.uint8)[:] = self.memory[source][: to.nbytes]

        self.queue("d2h", stream, copy)

    def record(self, event: int, stream: int) -> None:
        self._called("record", event)
        with self._lock:
            self.events[event] = (stream, self._done[stream] + len(self.pending[stream]))

    def wait(self, event: int) -> None:
        self.on_wait()
        self._called("wait", event)
        position = self.events[event]
        if position is not None:  # as in CUDA, an event that was never recorded has happened
            self._run(*position)

    def sync(self, stream: int) -> None:
        self._called("sync", stream)
        self._run(stream, self._done[stream] + len(self.pending[stream]))

    def capture(self, stream: int, work: Work) -> int:
        handle = self._handle("capture")
        self._capturing = (stream, [])
        work()
        self.graphs[handle], self._capturing = self._capturing[1], None
        return handle

    def launch(self, graph: int, stream: int) -> None:
        def replay() -> None:
            for work in self.graphs[graph]:
                work()

        self.queue("launch", stream, replay)

    def close(self) -> None:
        self.closed = True
        self.memory.clear()

    def queue(self, call: str, stream: int, work: Work) -> None:
        self._called(call, stream)
        if self._capturing is not None:
            assert self._capturing[0] == stream, "work on another stream during a capture"
            self._capturing[1].append(work)
            return
        with self._lock:
            self.pending[stream].append(work)

    def _run(self, stream: int, until: int) -> None:
        with self._lock:
            while self._done[stream] < until:
                self.pending[stream].pop(0)()
                self._done[stream] += 1

    def _handle(self, call: str) -> int:
        assert self._capturing is None, f"{call} is not allowed during a capture"
        self._called(call, None)
        self._next += 0x100
        return self._next

    def _called(self, call: str, subject: int | None) -> None:
        with self._lock:
            self.calls.append((call, subject))
            self._seen[call] += 1
        if self.fail is not None and self.fail[0] == call and self._seen[call] >= self.fail[1]:
            raise DeviceFault(f"{call} was made to fail")

    def count(self, call: str) -> int:
        """How often a method was called."""
        return self._seen[call]


class FakePlan:
    """Implements seam.Plan: the graph of a bundle, run by ONNX Runtime on the fake device's memory."""

    workspace_bytes = 64

    def __init__(self, device: FakeDevice, onnx: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.device = device
        self.fail: str | None = None  # the name of a step of a context that raises
        self.made: list[tuple[int, int]] = []
        inputs = [self._spec(tensor, True) for tensor in self.session.get_inputs()]
        self.tensors = (*inputs, *(self._spec(tensor, False) for tensor in self.session.get_outputs()))

    def context(self, profile: int, batch: int) -> "FakeContext":
        if self.fail == "context":
            raise DeviceFault("context was made to fail")
        self.made.append((profile, batch))
        return FakeContext(self, batch)

    @staticmethod
    def _spec(tensor: onnxruntime.NodeArg, is_input: bool) -> TensorSpec:
        return TensorSpec(tensor.name, is_input, DTYPES[tensor.type], tuple(tensor.shape[1:]))


class FakeContext:
    """Implements seam.Context. It reads and writes the addresses that it was given, whatever lies there."""

    def __init__(self, plan: FakePlan, batch: int) -> None:
        self._plan, self._batch = plan, batch
        self._addresses: Mapping[str, int] = {}

    def prepare(self, addresses: Mapping[str, int], workspace: int, stream: int) -> None:
        if self._plan.fail == "prepare":
            raise DeviceFault("prepare was made to fail")
        assert workspace in self._plan.device.memory
        self._addresses = dict(addresses)

    def enqueue(self, stream: int) -> None:
        if self._plan.fail == "enqueue":
            raise DeviceFault("enqueue was made to fail")
        self._plan.device.queue("enqueue", stream, self._infer)

    def _infer(self) -> None:
        memory = self._plan.device.memory
        arrays = {}
        for tensor in self._plan.tensors:
            held = memory[self._addresses[tensor.name]][: self._batch * tensor.row_bytes]
            arrays[tensor.name] = held.view(tensor.dtype).reshape(self._batch, *tensor.row)
        logits = arrays.pop("logits")
        logits[:] = self._plan.session.run(["logits"], arrays)[0]
