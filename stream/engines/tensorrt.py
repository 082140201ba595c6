"""The GPU engine: a TensorRT plan behind two slots, so that one batch is copied while another runs.

A slot has a stream, an event, pinned buffers, device buffers and, for every batch bucket, a context of
its own with its inference captured as a CUDA graph. A batch goes h2d, graph, d2h, event; the host waits for
the event and for nothing else. No address changes after loading, which is what makes the graphs valid.
"""

import queue
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.engine_file import EngineFileError, Sidecar, engine_path, read_engine
from models.gpu import NoGpu, find_gpu
from stream.engines.tensorrt_seam import Context, Device, DeviceFault, Plan, TensorSpec
from stream.errors import ConfigError, Outage

PART = "engine"
OUTPUT = "logits"
Views = Mapping[str, NDArray[np.uint8]]


def load_tensorrt(bundle: Bundle, folder: Path) -> "TensorRtEngine":
    """The engine of this bundle for this machine's GPU, from the folder of built engines.

    The driver is asked before TensorRT is imported. Raises ConfigError saying what is missing.
    """
    try:
        gpu = find_gpu()
    except NoGpu as error:
        raise ConfigError(f"TensorRT cannot run here: {error}; set PIXASSAY_ENGINE=openvino") from error
    try:
        import tensorrt

        from stream.engines.tensorrt_cuda import CudaDevice
        from stream.engines.tensorrt_plan import TensorRtPlan
    except (ImportError, OSError) as error:
        raise ConfigError(f"TensorRT is not installed: {error}; install requirements/gpu.txt") from error
    try:
        sidecar, data = read_engine(engine_path(folder, bundle, gpu.sm), bundle, gpu, tensorrt.__version__)
        return TensorRtEngine(CudaDevice(), TensorRtPlan(tensorrt, data), sidecar, bundle)
    except (EngineFileError, DeviceFault) as error:
        raise ConfigError(
            f"no TensorRT engine for bundle {bundle.id} on this {gpu.name}: {error}; "
            f"run: pixassay engine build {bundle.path}"
        ) from error


class TensorRtEngine:
    """Implements engines.Engine. Safe for as many callers at a time as there are slots.

    After a fault of the GPU nothing is queued any more: CUDA's errors stay, only a new process ends them.
    """

    name = "tensorrt"

    def __init__(self, device: Device, plan: Plan, sidecar: Sidecar, bundle: Bundle) -> None:
        """Allocate everything, run and capture every bucket. Raises DeviceFault, with all freed again."""
        self.precision: str = sidecar.precision
        self.buckets = sidecar.batches
        self.callers = sidecar.slots
        self._device, self._fault = device, ""
        self._views = {view.name: (view.size, view.size, 3) for view in bundle.manifest.views}
        self._detectors = len(bundle.manifest.detectors)
        self._idle: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        try:
            self._check(plan.tensors)
            for index in range(sidecar.slots):
                self._idle.put(_Slot(device, plan, sidecar, index))
        except DeviceFault:
            device.close()
            raise

    def score(self, views: Views) -> NDArray[np.float32]:
        """Raw logits [N, D] of views [N, H, W, 3]; any N >= 1, in buckets, as many at once as slots are free.

        Raises Outage where the GPU failed, ValueError where the views are not those of the bundle.
        """
        count = self._count(views)
        logits = np.empty((count, self._detectors), np.float32)
        running: deque[tuple[_Slot, slice]] = deque()
        try:
            for start in range(0, count, self.buckets[-1]):
                rows = slice(start, min(start + self.buckets[-1], count))
                slot = self._free_slot(running, logits)
                running.append((slot, rows))
                slot.start({name: array[rows] for name, array in views.items()})
            while running:
                self._idle.put(self._finish(running, logits))
        except DeviceFault as error:
            self._fault = str(error)
            raise Outage(PART, f"{error}; the worker must be started anew") from error
        finally:
            for slot, _ in running:  # only after a fault: wakes callers that wait for a slot
                self._idle.put(slot)
        return logits

    def close(self) -> None:
        """Free the GPU's memory. No caller may be inside `score`."""
        self._device.close()

    def _free_slot(self, running: "deque[tuple[_Slot, slice]]", logits: NDArray[np.float32]) -> "_Slot":
        """An idle slot. A caller that holds slots finishes its oldest instead of waiting for another's."""
        try:
            slot = self._idle.get_nowait()
        except queue.Empty:
            slot = self._finish(running, logits) if running else self._idle.get()
        if self._fault:
            self._idle.put(slot)
            raise DeviceFault(self._fault)
        return slot

    def _finish(self, running: "deque[tuple[_Slot, slice]]", logits: NDArray[np.float32]) -> "_Slot":
        """Wait for the oldest batch; only then may its slot be used again."""
        slot, rows = running[0]
        logits[rows] = slot.finish()
        running.popleft()
        return slot

    def _count(self, views: Views) -> int:
        counts = {len(views[name]) for name in self._views if name in views}
        shapes = {name: array.shape[1:] for name, array in views.items()}
        if shapes != self._views or len(counts) != 1 or 0 in counts:
            found = {name: array.shape for name, array in views.items()}
            raise ValueError(f"the views are {found}, not [N, ...] of {self._views}")
        return counts.pop()

    def _check(self, tensors: tuple[TensorSpec, ...]) -> None:
        """Hold the plan's tensors against the manifest."""
        expected: dict[str, tuple[bool, str, tuple[int, ...]]] = {
            name: (True, "uint8", row) for name, row in self._views.items()
        }
        expected[OUTPUT] = (False, "float32", (self._detectors,))
        actual = {t.name: (t.is_input, t.dtype.name, t.row) for t in tensors}
        if actual != expected:
            raise DeviceFault(f"the engine's tensors are {actual}, but the bundle needs {expected}")


class _Slot:
    """One batch's place on the GPU."""

    def __init__(self, device: Device, plan: Plan, sidecar: Sidecar, index: int) -> None:
        """Raises DeviceFault."""
        self._device, self._batches, self._rows = device, sidecar.batches, 0
        self._stream, self._event = device.stream(), device.event()
        largest = self._batches[-1]
        self._host = {
            t.name: device.pinned(largest * t.row_bytes).view(t.dtype).reshape(largest, *t.row)
            for t in plan.tensors
        }
        self._addresses = {t.name: device.alloc(largest * t.row_bytes) for t in plan.tensors}
        self._workspace = device.alloc(plan.workspace_bytes)  # its contexts never run at once
        self._contexts: list[Context] = []  # a graph does not keep its context alive
        self._graphs = {
            batch: self._captured(plan.context(sidecar.profile(index, batch), batch))
            for batch in self._batches
        }

    def start(self, views: Views) -> None:
        """Queue a batch of n rows in the smallest bucket that holds it. Raises DeviceFault.

        Rows beyond n keep what an earlier batch left there: no row's logits depend on another row.
        """
        self._rows = len(next(iter(views.values())))
        for name, array in views.items():
            part = self._host[name][: self._rows]
            np.copyto(part, array)
            self._device.h2d(self._addresses[name], part, self._stream)
        bucket = next(batch for batch in self._batches if batch >= self._rows)
        self._device.launch(self._graphs[bucket], self._stream)
        self._device.d2h(self._host[OUTPUT][: self._rows], self._addresses[OUTPUT], self._stream)
        self._device.record(self._event, self._stream)

    def finish(self) -> NDArray[np.float32]:
        """Wait for the event; the batch's logits [n, D], valid until the next `start`. Raises DeviceFault."""
        self._device.wait(self._event)
        return self._host[OUTPUT][: self._rows]

    def _captured(self, context: Context) -> int:
        """A context's inference as a graph. It runs once before, so that nothing is set up in the capture."""
        self._contexts.append(context)
        context.prepare(self._addresses, self._workspace, self._stream)
        context.enqueue(self._stream)
        self._device.sync(self._stream)
        return self._device.capture(self._stream, lambda: context.enqueue(self._stream))
