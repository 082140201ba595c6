"""TensorRT 10 and 11 for the runner: deserialise, ask about tensors, run a context.

Every call's bool or None is looked at: TensorRT reports failures that way and explains them only in its
log, so the log's last error goes into the message. The package is handed in, because importing
it is not safe everywhere (see models.gpu).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stream.engines.tensorrt_seam import DeviceFault, TensorSpec


class TensorRtPlan:
    """A deserialised engine. Implements seam.Plan."""

    def __init__(self, trt: Any, data: bytes) -> None:
        """`trt` is the tensorrt module. Raises DeviceFault."""
        self._trt, self._log = trt, ErrorLog()
        self._runtime = _present("Runtime", trt.Runtime(logger(trt, self._log)), self._log)
        engine = self._runtime.deserialize_cuda_engine(data)
        self._engine = _present("deserialize_cuda_engine", engine, self._log)
        self.workspace_bytes = int(self._engine.device_memory_size_v2)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.tensors = tuple(self._spec(name) for name in names)

    def context(self, profile: int, batch: int) -> "TensorRtContext":
        """A context whose scratch memory we provide. Raises DeviceFault."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        made = self._engine.create_execution_context(strategy)
        context = _present("create_execution_context", made, self._log)
        return TensorRtContext(context, self.tensors, profile, batch, self.workspace_bytes, self._log)

    def _spec(self, name: str) -> TensorSpec:
        engine = self._engine
        is_input = engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        dtype = np.dtype(self._trt.nptype(engine.get_tensor_dtype(name)))
        return TensorSpec(name, is_input, dtype, tuple(engine.get_tensor_shape(name))[1:])


class TensorRtContext:
    """One context for one profile and batch. Implements seam.Context."""

    def __init__(
        self,
        context: Any,
        tensors: tuple[TensorSpec, ...],
        profile: int,
        batch: int,
        workspace_bytes: int,
        log: "ErrorLog",
    ) -> None:
        self._context, self._tensors, self._log = context, tensors, log
        self._profile, self._batch, self._workspace_bytes = profile, batch, workspace_bytes

    def prepare(self, addresses: Mapping[str, int], workspace: int, stream: int) -> None:
        """Profile, scratch memory, shapes, addresses. Raises DeviceFault."""
        context = self._context
        chosen = context.set_optimization_profile_async(self._profile, stream)
        self._true(f"set_optimization_profile_async({self._profile})", chosen)
        context.set_device_memory(workspace, self._workspace_bytes)
        for tensor in self._tensors:
            if tensor.is_input:
                shape = (self._batch, *tensor.row)
                self._true(f"set_input_shape({tensor.name})", context.set_input_shape(tensor.name, shape))
        missing = context.infer_shapes()
        self._true(f"infer_shapes, which misses {', '.join(missing)},", not missing)
        self._true("all_binding_shapes_specified", context.all_binding_shapes_specified)
        for tensor in self._tensors:
            self._check_shape(tensor)
            given = context.set_tensor_address(tensor.name, addresses[tensor.name])
            self._true(f"set_tensor_address({tensor.name})", given)

    def enqueue(self, stream: int) -> None:
        """Queue one inference. Raises DeviceFault."""
        self._true("execute_async_v3", self._context.execute_async_v3(stream))

    def _check_shape(self, tensor: TensorSpec) -> None:
        """Our buffers were made for these shapes: anything larger would be written out of bounds."""
        actual = tuple(self._context.get_tensor_shape(tensor.name))
        if actual != (self._batch, *tensor.row):
            raise DeviceFault(
                f"the engine gives {tensor.name} the shape {actual}, not {(self._batch, *tensor.row)}"
            )

    def _true(self, call: str, answer: object) -> None:
        if answer is not True:
            raise DeviceFault(f"TensorRT's {call} failed{self._log.reason()}")


class ErrorLog:
    """The last error that TensorRT wrote to its log."""

    def __init__(self) -> None:
        self.last = ""

    def reason(self) -> str:
        """The end of a sentence."""
        return f": {self.last}" if self.last else " and did not say why"


def logger(trt: Any, log: ErrorLog) -> Any:
    """A TensorRT logger that writes into `log`."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                log.last = message.strip()

    return Logger()


def _present(call: str, made: Any, log: ErrorLog) -> Any:
    if made is None:
        raise DeviceFault(f"TensorRT's {call} failed{log.reason()}")
    return made
