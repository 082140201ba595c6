"""Which engine runs here, and the proof that it computes what the bundle says."""

import ctypes
import logging
import os

import numpy as np

from models.bundle import Bundle
from stream.engines import Engine
from stream.engines.openvino import OpenVinoEngine
from stream.errors import ConfigError
from stream.settings import Settings

log = logging.getLogger(__name__)


def load_engine(bundle: Bundle, settings: Settings) -> Engine:
    """The engine that the settings ask for, after it has reproduced the bundle's golden logits.

    Raises ConfigError where it is not to be had here, or computes something else.
    """
    if settings.engine in ("tensorrt", "torch"):
        raise ConfigError(_not_available(settings.engine))
    threads = settings.threads or len(os.sched_getaffinity(0))
    engine = OpenVinoEngine(bundle, threads, settings.max_batch)
    error = golden_error(engine, bundle)
    allowed = bundle.manifest.golden_tolerance.get(engine.precision, 0.0)
    if not error <= allowed:  # so that NaN fails, too
        raise ConfigError(
            f"{engine.name} in {engine.precision} is {error:.3g} off the golden logits of {bundle.id}, "
            f"at most {allowed:g} is allowed; use another PIXASSAY_ENGINE or export the bundle again"
        )
    why = "asked for" if settings.engine == "openvino" else _why_not_a_gpu()
    log.info(
        "engine %s %s, %d threads (%s); golden logits within %.2g",
        engine.name,
        engine.precision,
        threads,
        why,
        error,
    )
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


def cuda_fault() -> str | None:
    """Why the NVIDIA driver is of no use here; None where it answers.

    Asked before any import of TensorRT, which ends the process where there is no driver.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver: {error}"
    status = int(driver.cuInit(0))
    return None if status == 0 else f"the NVIDIA driver answers cuInit with error {status}"


def _not_available(name: str) -> str:
    fault = cuda_fault()
    reason = f"and there is {fault}" if name == "tensorrt" and fault and fault.startswith("no") else ""
    return (
        f"PIXASSAY_ENGINE={name} is not part of this version {reason}".rstrip()
        + "; set PIXASSAY_ENGINE=openvino, or auto"
    )


def _why_not_a_gpu() -> str:
    return cuda_fault() or "there is a GPU, but this version has no engine for it"
