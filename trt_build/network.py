"""ONNX -> serialised plan, the same code for TensorRT 10, 11 and the GPU-less TensorRT-RTX.

The package is handed in as a module: TensorRT may only be imported where there is a driver.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from trt_build.graph_file import ONE_FILE, on_disk, weight_bytes

MAX_MESSAGES = 3


class CompileFault(Exception):
    """TensorRT refused a graph; the message names the node where TensorRT does."""


@dataclass(frozen=True, slots=True)
class BatchRange:
    """One optimisation profile: the batches that it takes and the one that it is tuned for."""

    least: int
    best: int
    most: int


@dataclass
class Log:
    """What TensorRT reports, errors apart from warnings."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what was reported."""
        self.errors.clear()
        self.warnings.clear()

    def reasons(self) -> str:
        """The first errors, in one line."""
        return "; ".join(self.errors[:MAX_MESSAGES]) or "no reason was given"


@functools.cache
def process_logger(trt: Any) -> tuple[Any, Log]:
    """TensorRT takes one logger a process, and uses it as long as the process lives."""
    log = Log()

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                log.errors.append(message.strip())
            elif severity == trt.ILogger.WARNING and message.strip() not in log.warnings:
                log.warnings.append(message.strip())  # once: it repeats some for every node

    return Logger(), log


@dataclass
class Network:
    """A parsed network and the objects that must outlive its build."""

    trt: Any
    builder: Any
    network: Any
    parser: Any  # owns the weights of the network
    log: Log

    def config(self, profiles: Sequence[BatchRange]) -> Any:
        """A builder configuration with these profiles, in this order. Raises CompileFault."""
        config = self.builder.create_builder_config()
        inputs = [self.network.get_input(index) for index in range(self.network.num_inputs)]
        for wanted in profiles:
            profile = self.builder.create_optimization_profile()
            for tensor in inputs:
                row = tuple(tensor.shape)[1:]
                shapes = ((batch, *row) for batch in (wanted.least, wanted.best, wanted.most))
                profile.set_shape(tensor.name, *shapes)
            if config.add_optimization_profile(profile) < 0:
                raise CompileFault(f"profile {wanted} was refused: {self.log.reasons()}")
        return config

    def build(self, config: Any) -> bytes:
        """The serialised plan. Raises CompileFault."""
        plan = self.builder.build_serialized_network(self.network, config)
        if plan is None:
            raise CompileFault(f"the graph does not compile: {self.log.reasons()}")
        return bytes(plan)


def parse(trt: Any, graph: onnx.ModelProto, one_file: int = ONE_FILE) -> Network:
    """A strongly typed network: types come from the graph and nothing else. Raises CompileFault.

    A graph with more than `one_file` bytes of weights is handed over in files.
    """
    logger, log = process_logger(trt)
    log.clear()
    builder = trt.Builder(logger)
    # Always on in TensorRT 11, where the flag is accepted; must be asked for in 10.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not _read(parser, graph, one_file):
        faults = [_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise CompileFault("the graph is refused: " + "; ".join(faults[:MAX_MESSAGES]))
    return Network(trt, builder, network, parser, log)


def _read(parser: Any, graph: onnx.ModelProto, one_file: int) -> bool:
    if weight_bytes(graph) <= one_file:
        return bool(parser.parse(graph.SerializeToString()))
    with on_disk(graph, one_file) as path:
        return bool(parser.parse_from_file(str(path)))


def _fault(error: Any) -> str:
    """One sentence of a parser's error, with the node's name and operator."""
    return f"node {error.node_name()!r} ({error.node_operator()}): {error.desc().strip()}"
