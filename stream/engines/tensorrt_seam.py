"""What the TensorRT runner needs of CUDA and of TensorRT: three small protocols.

`tensorrt_cuda` and `tensorrt_plan` are the real halves. The tests bring a device of numpy arrays whose
streams run late, and contexts that run the same graph in ONNX Runtime: so the order of the calls, the
reuse of buffers and every error path are tested without a GPU.

Streams, events, graphs and device addresses are plain integers, as CUDA's handles are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Host = NDArray[Any]


class DeviceFault(Exception):
    """CUDA or TensorRT refused a call; the message names it and gives the reason."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of an engine. Axis 0 is the batch."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]
    row: tuple[int, ...]  # the shape without the batch

    @property
    def row_bytes(self) -> int:
        """Bytes of one picture's share."""
        return int(np.prod(self.row, dtype=np.int64)) * self.dtype.itemsize


class Device(Protocol):
    """Memory, streams, events and graphs of one GPU. Every method raises DeviceFault."""

    def stream(self) -> int:
        """A new stream that does not wait for the default stream."""
        ...

    def event(self) -> int:
        """A new event."""
        ...

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Page-locked host memory, zeroed, which lives until `close`."""
        ...

    def alloc(self, nbytes: int) -> int:
        """Address of zeroed device memory, aligned to 256 bytes, which lives until `close`."""
        ...

    def h2d(self, to: int, source: Host, stream: int) -> None:
        """Queue a copy of the whole of `source`, a part of pinned memory, to an address."""
        ...

    def d2h(self, to: Host, source: int, stream: int) -> None:
        """Queue a copy from an address that fills `to`, a part of pinned memory."""
        ...

    def record(self, event: int, stream: int) -> None:
        """Queue the event behind all that the stream holds."""
        ...

    def wait(self, event: int) -> None:
        """Block this thread until the event has happened."""
        ...

    def sync(self, stream: int) -> None:
        """Block this thread until the stream is empty. While loading only."""
        ...

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what `work` queues on the stream, without running it, as a graph."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Queue a captured graph."""
        ...

    def close(self) -> None:
        """Free everything. Nothing may be under way."""
        ...


class Context(Protocol):
    """One execution context, for one profile, one batch size and one set of addresses."""

    def prepare(self, addresses: Mapping[str, int], workspace: int, stream: int) -> None:
        """Fix shapes and addresses for good. Raises DeviceFault."""
        ...

    def enqueue(self, stream: int) -> None:
        """Queue one inference. Raises DeviceFault."""
        ...


class Plan(Protocol):
    """A deserialised engine."""

    tensors: tuple[TensorSpec, ...]
    workspace_bytes: int  # scratch memory that contexts need; those that never run at once may share it

    def context(self, profile: int, batch: int) -> Context:
        """A new context. Raises DeviceFault."""
        ...
