"""CUDA for the TensorRT runner, by NVIDIA's own bindings of the runtime API: no torch, no CuPy."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from cuda.bindings import runtime
from numpy.typing import NDArray

from stream.engines.tensorrt_seam import DeviceFault, Host


class CudaDevice:
    """The first GPU of this process (CUDA_VISIBLE_DEVICES says which). Implements seam.Device."""

    def __init__(self) -> None:
        self._free: list[Callable[[], object]] = []

    def stream(self) -> int:
        """A non-blocking stream."""
        made = _checked("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        self._free.append(lambda: _checked("cudaStreamDestroy", made))
        return int(made)

    def event(self) -> int:
        """An event that is waited for asleep: decoders need the cores."""
        flags = runtime.cudaEventBlockingSync | runtime.cudaEventDisableTiming
        made = _checked("cudaEventCreateWithFlags", flags)
        self._free.append(lambda: _checked("cudaEventDestroy", made))
        return int(made)

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """uint8 [nbytes] of page-locked memory."""
        address = int(_checked("cudaHostAlloc", nbytes, runtime.cudaHostAllocDefault))
        self._free.append(lambda: _checked("cudaFreeHost", address))
        array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        array[:] = 0
        return array

    def alloc(self, nbytes: int) -> int:
        """cudaMalloc aligns to 256 bytes and more."""
        address = int(_checked("cudaMalloc", max(nbytes, 1)))
        self._free.append(lambda: _checked("cudaFree", address))
        _checked("cudaMemset", address, 0, nbytes)
        return address

    def h2d(self, to: int, source: Host, stream: int) -> None:
        """Asynchronous, since the source is page-locked."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _checked("cudaMemcpyAsync", to, source.ctypes.data, source.nbytes, kind, stream)

    def d2h(self, to: Host, source: int, stream: int) -> None:
        """Asynchronous, since the target is page-locked."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _checked("cudaMemcpyAsync", to.ctypes.data, source, to.nbytes, kind, stream)

    def record(self, event: int, stream: int) -> None:
        """Queue the event."""
        _checked("cudaEventRecord", event, stream)

    def wait(self, event: int) -> None:
        """The interpreter lock is free meanwhile. Also reports what failed on the GPU before the event."""
        _checked("cudaEventSynchronize", event)

    def sync(self, stream: int) -> None:
        """Wait for one stream."""
        _checked("cudaStreamSynchronize", stream)

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Only this thread's calls are restricted meanwhile. The capture ends even where `work` fails."""
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _checked("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except DeviceFault:
            runtime.cudaStreamEndCapture(stream)  # its own error would hide the first one
            raise
        graph = _checked("cudaStreamEndCapture", stream)
        runnable = _checked("cudaGraphInstantiate", graph, 0)
        self._free.append(lambda: _checked("cudaGraphExecDestroy", runnable))
        _checked("cudaGraphDestroy", graph)
        return int(runnable)

    def launch(self, graph: int, stream: int) -> None:
        """Queue an instantiated graph."""
        _checked("cudaGraphLaunch", graph, stream)

    def close(self) -> None:
        """Free in reverse order; what cannot be freed after a fault goes with the process."""
        while self._free:
            try:
                self._free.pop()()
            except DeviceFault:
                continue


def _checked(call: str, *arguments: object) -> Any:
    """Call the runtime API; its single result, or None. Raises DeviceFault unless it reports success."""
    status, *results = getattr(runtime, call)(*arguments)
    if status != runtime.cudaError_t.cudaSuccess:
        raise DeviceFault(f"{call} failed: {status.name}")
    return results[0] if results else None
