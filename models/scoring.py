"""Pictures through a bundle, outside the service: views, graph, calibration, fusion. No torch here."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.calibrate import Fusion, Platt
from models.data import load, load_at
from models.layouts import Picture
from models.resave import saved_as_jpeg
from models.spec import Manifest, ViewSpec
from models.synthesis.base import RGB
from models.views import render_all

Views = dict[str, NDArray[np.uint8]]  # view name -> [N, S, S, 3]
Run = Callable[[Views], NDArray[np.float32]]  # -> logits [N, D]
Change = Callable[[RGB], RGB]
Engine = Literal["onnxruntime", "openvino"]

BATCH = 16


def open_engine(bundle: Bundle, engine: Engine = "onnxruntime", threads: int = 1) -> Run:
    """The bundle's graph as a function. onnxruntime is the reference; openvino is what serves on a CPU."""
    return _onnxruntime(bundle, threads) if engine == "onnxruntime" else _openvino(bundle, threads)


def _onnxruntime(bundle: Bundle, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle.onnx, options, providers=["CPUExecutionProvider"])

    def run(views: Views) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, dict(views))[0]
        return logits

    return run


def _openvino(bundle: Bundle, threads: int) -> Run:
    import openvino

    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    config["INFERENCE_PRECISION_HINT"] = "f32"  # the same figures on every CPU, also where bf16 would serve
    compiled = openvino.Core().compile_model(bundle.onnx, "CPU", config)

    def run(views: Views) -> NDArray[np.float32]:
        return np.array(compiled(dict(views))[0], dtype=np.float32)

    return run


def score(
    run: Run,
    views: Sequence[ViewSpec],
    pictures: Sequence[Picture],
    *,
    short_side: int | None = 256,
    change: Change | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Raw logits [N, D] of pictures brought to one short side, then through `change` (a re-encoding).

    `short_side` None leaves the pictures as they are, as a worker sees them.
    `run` may be any function of the views, a torch ensemble too.
    """
    found: list[NDArray[np.float32]] = []
    for chunk in _chunks(pictures, BATCH):
        rendered = [render_all(_prepare(picture, short_side, change), views) for picture in chunk]
        stacked = {spec.name: np.stack([one[spec.name] for one in rendered]) for spec in views}
        found.append(run(stacked))
        if progress is not None:
            progress(len(chunk))
    return np.concatenate(found).astype(np.float64)


def score_copies(
    run: Run,
    manifest: Manifest,
    pictures: Sequence[Picture],
    logits: NDArray[np.float64],
    *,
    short_side: int | None = 256,
    change: Change | None = None,
) -> NDArray[np.float64]:
    """Raw logits [N, D] of the copies that the policy asks for; those of the picture where it asks for none.

    As in service: what would be flagged by its own logits [N, D] is scored again, saved as JPEG.
    """
    policy = manifest.policy
    if policy.recheck is None:
        return logits
    flagged = probabilities(manifest, logits) >= policy.suspicious
    if policy.disagreement is not None:
        flagged |= spreads(manifest, logits) >= policy.disagreement
    chosen = np.flatnonzero(flagged).tolist()
    if not chosen:
        return logits
    again = resaved(policy.recheck, change)
    copies = logits.copy()
    some = [pictures[index] for index in chosen]
    copies[chosen] = score(run, manifest.views, some, short_side=short_side, change=again)
    return copies


def resaved(quality: int, change: Change | None = None) -> Change:
    """`change`, where there is one, then saved once more as JPEG."""

    def both(rgb: RGB) -> RGB:
        return saved_as_jpeg(rgb if change is None else change(rgb), quality)

    return both


def spreads(manifest: Manifest, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart [N] the log-odds of the detectors with a weight lie, of raw logits [N, D]."""
    heard = [detector.weight > 0 for detector in manifest.detectors]
    return np.ptp(_log_odds(manifest, logits)[:, heard], axis=1) if any(heard) else np.zeros(len(logits))


def _log_odds(manifest: Manifest, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    lines = [Platt(detector.slope, detector.intercept) for detector in manifest.detectors]
    return np.stack([line.apply(logits[:, index]) for index, line in enumerate(lines)], axis=1)


def probabilities(manifest: Manifest, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fused probability [N] of raw logits [N, D], by the manifest's calibration and weights."""
    calibrated = _log_odds(manifest, logits)
    weights = np.array([detector.weight for detector in manifest.detectors])
    return Fusion(weights, manifest.fusion_bias, penalty=0.0, held_out_loss=float("nan")).apply(calibrated)


def _prepare(picture: Picture, short_side: int | None, change: Change | None) -> RGB:
    rgb = load(picture) if short_side is None else load_at(picture, short_side)
    return rgb if change is None else change(rgb)


def _chunks(pictures: Sequence[Picture], size: int) -> Iterator[Sequence[Picture]]:
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]
