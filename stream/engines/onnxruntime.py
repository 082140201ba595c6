"""The CPU engine where OpenVINO is not to be had: ONNX Runtime, float32 or what the bundle's graph says."""

from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.bundle import Bundle
from stream.errors import ConfigError


class OnnxRuntimeEngine:
    """A bundle's graph in ONNX Runtime."""

    name, callers = "onnxruntime", 1

    def __init__(self, bundle: Bundle, threads: int, max_batch: int) -> None:
        """For batches of 1 to `max_batch` on `threads` threads. Raises ConfigError."""
        quantisation = bundle.manifest.quantisation
        self.precision: str = quantisation.precision if quantisation else "f32"
        self.buckets = tuple(range(1, max_batch + 1))
        self._views = tuple(view.name for view in bundle.manifest.views)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Idle threads would spin on the cores that decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(bundle.onnx), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base but this
            raise ConfigError(f"ONNX Runtime cannot run {bundle.onnx}: {error}") from error
        reads = sorted(port.name for port in self._session.get_inputs())
        if reads != sorted(self._views):
            raise ConfigError(f"the graph reads {reads}, but the manifest's views are {sorted(self._views)}")

    def score(self, views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Raw logits [N, D] of views [N, H, W, 3], 1 <= N <= the largest bucket."""
        (logits,) = self._session.run(None, {name: views[name] for name in self._views})
        return np.asarray(logits, np.float32)

    def close(self) -> None:
        """Nothing to release: the memory goes with the object."""
