"""Which engine runs here, and the proof that it computes what the bundle says."""

import logging
import os
from importlib.util import find_spec

import numpy as np

from models.bundle import Bundle
from models.gpu import NoGpu, find_gpu
from stream.engines import Engine
from stream.engines.tensorrt import load_tensorrt
from stream.errors import ConfigError
from stream.settings import Settings

log = logging.getLogger(__name__)


def load_engine(bundle: Bundle, settings: Settings) -> Engine:
    """The engine that the settings ask for, after it has reproduced the bundle's golden logits.

    Raises ConfigError where it is not to be had here, or computes something else.
    """
    engine, why = _load(bundle, settings)
    try:
        error = _require_golden(engine, bundle)
    except ConfigError:
        engine.close()
        raise
    log.info("engine: %s in %s (%s); golden logits within %.2g", engine.name, engine.precision, why, error)
    return engine


def golden_error(engine: Engine, bundle: Bundle) -> float:
    """Largest difference of a golden logit; the golden inputs go through in the engine's batches."""
    views, expected = bundle.golden()
    size = engine.buckets[-1]
    parts = [
        engine.score({name: array[start : start + size] for name, array in views.items()})
        for start in range(0, len(expected), size)
    ]
    return float(np.abs(np.concatenate(parts).astype(np.float64) - expected).max())


def _require_golden(engine: Engine, bundle: Bundle) -> float:
    error = golden_error(engine, bundle)
    allowed = bundle.manifest.golden_tolerance.get(engine.precision, 0.0)
    if not error <= allowed:  # so that NaN fails, too
        raise ConfigError(
            f"{engine.name} in {engine.precision} is {error:.3g} off the golden logits of {bundle.id}, "
            f"at most {allowed:g} is allowed; set another PIXASSAY_ENGINE or export the bundle again"
        )
    return error


def _load(bundle: Bundle, settings: Settings) -> tuple[Engine, str]:
    """The engine, and why it is this one."""
    match settings.engine:
        case "tensorrt":
            return load_tensorrt(bundle, settings.engines), "asked for"
        case "openvino":
            return _openvino(bundle, settings)
        case "onnxruntime":
            return _onnxruntime(bundle, settings), "asked for"
    try:
        gpu = find_gpu()
    except NoGpu as error:
        engine, why = _cpu(bundle, settings)
        return engine, f"{error}; {why}"
    try:
        return load_tensorrt(bundle, settings.engines), f"on {gpu.name}"
    except ConfigError as error:
        log.warning("the GPU %s is not used: %s", gpu.name, error)
        engine, why = _cpu(bundle, settings)
        return engine, f"{gpu.name} is not used; {why}"


def _cpu(bundle: Bundle, settings: Settings) -> tuple[Engine, str]:
    """OpenVINO; ONNX Runtime where OpenVINO is not installed."""
    if find_spec("openvino") is None:
        log.warning("OpenVINO is not installed here: ONNX Runtime runs the detectors, in float32")
        return _onnxruntime(bundle, settings), "OpenVINO is not installed"
    return _openvino(bundle, settings)


def _openvino(bundle: Bundle, settings: Settings) -> tuple[Engine, str]:
    from stream.engines.cpu_plan import Plan, best_plan  # not needed, and OpenVINO not loaded, on a GPU
    from stream.engines.openvino import OpenVinoEngine

    if settings.threads:
        plan = Plan(settings.threads, 1, settings.max_batch)
    else:
        plan = best_plan(bundle, len(os.sched_getaffinity(0)), settings.max_batch, settings.engines)
    return OpenVinoEngine(bundle, plan.threads, plan.batch, plan.streams), str(plan)


def _onnxruntime(bundle: Bundle, settings: Settings) -> Engine:
    if find_spec("onnxruntime") is None:
        raise ConfigError("neither OpenVINO nor ONNX Runtime is installed: run pip install openvino")
    from stream.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle, settings.threads or len(os.sched_getaffinity(0)), settings.max_batch)
