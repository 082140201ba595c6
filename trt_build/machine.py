"""The GPU of this machine, for building and checking engines: compile a graph, run a plan once.

The runner of the service (stream/engines/tensorrt.py) is built for speed; this one for being plain: one
stream, no graph, everything waited for. That two such different callers agree is part of the check.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from models.gpu import Gpu, NoGpu, find_gpu
from trt_build.network import BatchRange, CompileFault, parse, process_logger

Views = Mapping[str, NDArray[np.uint8]]


class NoMachine(Exception):
    """Engines cannot be built or run here; the message says why, as the end of a sentence."""


class Machine(Protocol):
    """What building and checking need of a GPU."""

    gpu: Gpu
    tensorrt: str  # version

    def compile(self, graph: onnx.ModelProto, profiles: Sequence[BatchRange]) -> bytes:
        """The serialised plan. Raises CompileFault."""
        ...

    def load(self, plan: bytes) -> Callable[[int, Views], NDArray[np.float32]]:
        """A function from (profile, views [B, H, W, 3]) to logits [B, D]; both raise CompileFault."""
        ...


class LocalMachine:
    """The first GPU of this process, with TensorRT 10 or 11. Implements Machine."""

    def __init__(self, timing_caches: Path) -> None:
        """Kernel timings are kept below `timing_caches` between builds. Raises NoMachine."""
        try:
            self.gpu = find_gpu()
        except NoGpu as error:
            raise NoMachine(str(error)) from error
        try:
            import tensorrt
            from cuda.bindings import runtime
        except (ImportError, OSError) as error:
            raise NoMachine(f"TensorRT is not installed: {error}; install requirements/gpu.txt") from error
        self._trt, self._cuda = tensorrt, runtime
        self.tensorrt: str = tensorrt.__version__
        self._cache = timing_caches / f"timing-sm{self.gpu.sm}-{self.tensorrt}.cache"

    def compile(self, graph: onnx.ModelProto, profiles: Sequence[BatchRange]) -> bytes:
        """A second profile of the same shape costs next to nothing: its timings are in the cache."""
        network = parse(self._trt, graph)
        config = network.config(profiles)
        known = self._cache.read_bytes() if self._cache.exists() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            raise CompileFault(f"TensorRT refuses the timing cache {self._cache}: delete it")
        plan = network.build(config)
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        self._cache.write_bytes(bytes(config.get_timing_cache().serialize()))
        return plan

    def load(self, plan: bytes) -> Callable[[int, Views], NDArray[np.float32]]:
        """Deserialise the plan. Raises CompileFault."""
        return PlanRun(self._trt, self._cuda, plan)


class PlanRun:
    """A plan, run step by step."""

    def __init__(self, trt: Any, cuda: Any, plan: bytes) -> None:
        """`trt` and `cuda` are the modules tensorrt and cuda.bindings.runtime. Raises CompileFault."""
        self._trt, self._cuda = trt, cuda
        logger, self._log = process_logger(trt)
        self._log.clear()
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise CompileFault(f"TensorRT cannot read the plan: {self._log.reasons()}")

    def __call__(self, profile: int, views: Views) -> NDArray[np.float32]:
        """Logits [B, D] of views [B, H, W, 3], B as the profile wants it. Raises CompileFault."""
        context = self._engine.create_execution_context()
        if context is None:
            raise CompileFault(f"TensorRT makes no context: {self._log.reasons()}")
        with self._resource("cudaStreamCreate", "cudaStreamDestroy") as stream:
            self._true("profile", context.set_optimization_profile_async(profile, int(stream)))
            for name, array in views.items():
                self._true(name, context.set_input_shape(name, array.shape))
            logits = np.empty(tuple(context.get_tensor_shape("logits")), np.float32)
            with self._memory([*views.values(), logits]) as addresses:
                for name, address in zip([*views, "logits"], addresses, strict=True):
                    self._true(name, context.set_tensor_address(name, address))
                self._copy(addresses, views.values())
                self._true("inference", context.execute_async_v3(int(stream)))
                self._call("cudaStreamSynchronize", stream)
                kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
                self._call("cudaMemcpy", logits.ctypes.data, addresses[-1], logits.nbytes, kind)
        return logits

    def _copy(self, addresses: Sequence[int], arrays: Any) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        for address, array in zip(addresses, arrays, strict=False):
            whole = np.ascontiguousarray(array)
            self._call("cudaMemcpy", address, whole.ctypes.data, whole.nbytes, kind)

    @contextmanager
    def _memory(self, arrays: Sequence[NDArray[Any]]) -> Iterator[list[int]]:
        addresses: list[int] = []
        try:
            addresses.extend(int(self._call("cudaMalloc", array.nbytes)) for array in arrays)
            yield addresses
        finally:
            for address in addresses:
                self._call("cudaFree", address)

    @contextmanager
    def _resource(self, make: str, free: str) -> Iterator[Any]:
        made = self._call(make)
        try:
            yield made
        finally:
            self._call(free, made)

    def _call(self, name: str, *arguments: object) -> Any:
        status, *results = getattr(self._cuda, name)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise CompileFault(f"{name} failed: {status.name}")
        return results[0] if results else None

    def _true(self, what: str, answer: object) -> None:
        if answer is not True:
            raise CompileFault(f"TensorRT refuses the {what}: {self._log.reasons()}")
