"""The CPU engine: OpenVINO, bf16 where the CPU computes in it, f32 elsewhere; int8 where the bundle is so.

In bf16 the heads stay f32, and so do the logits (models/heads.py).

The products of an int8 bundle are int8 on every CPU, and the rest of it is f32: what its gate measured.

Streams are batches that run side by side, each on its share of the threads (stream/engines/cpu_plan.py).

One compiled graph takes every batch up to the largest. Padding to a few static sizes was measured
against it (EfficientNet-Lite0, ViT-S/32, f32): within 5 % at batch 1, equal from 8 on, and each
static size costs its own copy of the weights.
"""

import queue
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from models.bundle import Bundle
from models.heads import keep_heads_in_float
from stream.errors import ConfigError

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


class OpenVinoEngine:
    """A bundle's graph compiled for this CPU."""

    name = "openvino"

    def __init__(self, bundle: Bundle, threads: int, max_batch: int, streams: int = 1) -> None:
        """Compile for batches of 1 to `max_batch` on `threads` threads in all. Raises ConfigError."""
        tolerances, quantisation = bundle.manifest.golden_tolerance, bundle.manifest.quantisation
        if quantisation and quantisation.precision == "fp8":
            # It reads such a graph, and rounds some numbers to the farther neighbour: not what the gate saw.
            raise ConfigError(
                f"{bundle.path} is fp8, which OpenVINO computes otherwise than judged: TensorRT serves it "
                "on GPUs from Ada on; on a CPU serve the float bundle, or set PIXASSAY_ENGINE=onnxruntime"
            )
        floats = "bf16" if computes_bf16() and "bf16" in tolerances else "f32"
        self.precision = quantisation.precision if quantisation else floats
        self.buckets = tuple(range(1, max_batch + 1))
        self.callers = streams
        self._views = tuple(view.name for view in bundle.manifest.views)
        self._detectors = len(bundle.manifest.detectors)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",  # as few batches at a time as are asked for here
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": floats,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # decoding processes share the cores
        }
        try:
            core = openvino.Core()
            model = core.read_model(bundle.onnx)
            self._check(model)
            batch = openvino.Dimension(1, max_batch)
            shapes = {
                v.name: openvino.PartialShape([batch, v.size, v.size, 3]) for v in bundle.manifest.views
            }
            model.reshape(shapes)
            if floats == "bf16":
                keep_heads_in_float(model)
            compiled = core.compile_model(model, "CPU", settings)
            self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
            for _ in range(streams):
                self._requests.put(compiled.create_infer_request())
        except RuntimeError as error:
            raise ConfigError(f"OpenVINO cannot run {bundle.onnx}: {error}") from error

    def score(self, views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Raw logits [N, D] of views [N, H, W, 3], 1 <= N <= the largest bucket."""
        inputs = {name: np.ascontiguousarray(views[name]) for name in self._views}
        request = self._requests.get()
        try:
            request.infer(inputs, share_inputs=True)
            logits: NDArray[np.float32] = np.array(request.get_output_tensor(0).data, np.float32)
        finally:
            self._requests.put(request)
        return logits.reshape(-1, self._detectors)

    def close(self) -> None:
        """Nothing to release: the memory goes with the object."""

    def _check(self, model: openvino.Model) -> None:
        inputs = sorted(port.get_any_name() for port in model.inputs)
        if inputs != sorted(self._views):
            raise ConfigError(f"the graph reads {inputs}, but the manifest's views are {sorted(self._views)}")


def computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has instructions for bf16; elsewhere it is emulated, slower than f32."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not _BF16_FLAGS.isdisjoint(flags.split())
