"""Parity: does a graph give the logits that torch gave? Needs onnxruntime, not torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.bundle import Bundle
from models.scoring import open_engine

TOLERANCE = 1e-4  # largest difference of a logit in fp32


def run_onnx(onnx_file: Path, views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Logits [N, D] of views [N, S, S, 3] by the reference runtime, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], dict(views))[0], dtype=np.float32)


def tolerance(bundle: Bundle) -> float:
    """Largest difference to the golden logits: 8-bit graphs round sums, so that CPUs differ by steps."""
    quantisation = bundle.manifest.quantisation
    return bundle.manifest.golden_tolerance[quantisation.precision] if quantisation else TOLERANCE


def golden_difference(bundle: Bundle) -> float:
    """Largest difference to the golden logits, as one batch and one picture at a time."""
    views, logits = bundle.golden()
    run = open_engine(bundle)
    apart = [run({name: a[i : i + 1] for name, a in views.items()}) for i in range(len(logits))]
    return float(max(np.abs(run(views) - logits).max(), np.abs(np.concatenate(apart) - logits).max()))
