"""Engines: one compiled ensemble behind one protocol, whatever the hardware."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """A loaded ensemble."""

    name: str  # "openvino", "tensorrt"
    precision: str  # what really runs: "f32", "bf16", "f16", "int8", "fp8"
    buckets: tuple[int, ...]  # ascending batch sizes that it was compiled for
    callers: int  # threads that may be in `score` at the same time

    def score(self, views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Raw logits [N, D] (D detectors, in the manifest's order) of views [N, H, W, 3]."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...
