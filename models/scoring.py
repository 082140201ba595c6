"""Pictures through a bundle, outside the service: views, graph, calibration, fusion. No torch here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.calibrate import Fusion
from models.data import load, load_at
from models.errors import ModelError
from models.layouts import Picture
from models.spec import Manifest, ViewSpec
from models.synthesis.base import RGB
from models.views import render_seen

Views = dict[str, NDArray[np.uint8]]  # view name -> [N, S, S, 3]
Run = Callable[[Views], NDArray[np.float32]]  # -> logits [N, D]
Change = Callable[[RGB], RGB]
Engine = Literal["onnxruntime", "openvino", "openvino-bf16"]

BATCH = 16


def open_engine(bundle: Bundle, engine: Engine = "onnxruntime", threads: int = 1) -> Run:
    """The bundle's graph as a function. onnxruntime is the reference; openvino is what serves on a CPU.

    "openvino" computes in float32, which gives the same figures on every CPU; "openvino-bf16" as a worker
    does where the CPU has bfloat16. Raises ModelError on other CPUs.
    """
    if engine == "onnxruntime":
        return _onnxruntime(bundle, threads)
    return _openvino(bundle, threads, "bf16" if engine == "openvino-bf16" else "f32")


def _onnxruntime(bundle: Bundle, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle.onnx, options, providers=["CPUExecutionProvider"])

    def run(views: Views) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, dict(views))[0]
        return logits

    return run


def _openvino(bundle: Bundle, threads: int, precision: Literal["f32", "bf16"]) -> Run:
    import openvino

    from models.heads import keep_heads_in_float

    if precision == "bf16" and not computes_bf16():
        raise ModelError("this CPU does not compute in bfloat16; take --engine openvino")
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    config["INFERENCE_PRECISION_HINT"] = precision
    core = openvino.Core()
    model = core.read_model(bundle.onnx)
    if precision == "bf16":
        keep_heads_in_float(model)
    compiled = core.compile_model(model, "CPU", config)

    def run(views: Views) -> NDArray[np.float32]:
        return np.array(compiled(dict(views))[0], dtype=np.float32)

    return run


def computes_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@dataclass(frozen=True, slots=True)
class Scored:
    """What a graph said of N pictures."""

    logits: NDArray[np.float64]  # [N, D], raw
    faces: NDArray[np.bool_]  # [N]: whether face views showed a face and not the whole picture


def score(
    run: Run,
    views: Sequence[ViewSpec],
    pictures: Sequence[Picture],
    *,
    short_side: int | None = 256,
    change: Change | None = None,
    resave: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scored:
    """Pictures brought to one short side, then through `change`, then saved as JPEG of quality `resave`.

    `short_side` None leaves the pictures as they are, as a worker sees them.
    `run` may be any function of the views, a torch ensemble too.
    """
    logits: list[NDArray[np.float32]] = []
    faces: list[bool] = []
    for chunk in _chunks(pictures, BATCH):
        rendered = [render_seen(_prepare(picture, short_side, change), views, resave) for picture in chunk]
        logits.append(run({spec.name: np.stack([one[spec.name] for one, _ in rendered]) for spec in views}))
        faces += [face for _, face in rendered]
        if progress is not None:
            progress(len(chunk))
    return Scored(np.concatenate(logits).astype(np.float64), np.array(faces))


def score_copies(
    run: Run,
    manifest: Manifest,
    pictures: Sequence[Picture],
    found: Scored,
    *,
    short_side: int | None = 256,
    change: Change | None = None,
) -> Scored:
    """The copies that the policy asks for; the pictures themselves, as `found`, where it asks for none.

    As in service: what would be flagged for its own logits is scored again, saved as JPEG.
    """
    policy = manifest.policy
    if policy.recheck is None:
        return found
    flagged = probabilities(manifest, found) >= policy.suspicious
    if policy.disagreement is not None:
        flagged |= spreads(manifest, found) >= policy.disagreement
    chosen = np.flatnonzero(flagged).tolist()
    if not chosen:
        return found
    logits, some = found.logits.copy(), [pictures[index] for index in chosen]
    again = score(run, manifest.views, some, short_side=short_side, change=change, resave=policy.recheck)
    logits[chosen] = again.logits
    return Scored(logits, found.faces)


def probabilities(manifest: Manifest, found: Scored) -> NDArray[np.float64]:
    """Fused probability [N], by the manifest's calibration and weights."""
    weights = np.array([detector.weight for detector in manifest.detectors])
    fusion = Fusion(weights, manifest.fusion_bias, penalty=0.0, held_out_loss=float("nan"))
    return fusion.apply(log_odds(manifest, found))


def spreads(manifest: Manifest, found: Scored) -> NDArray[np.float64]:
    """How far apart [N] the log-odds of the detectors with a weight lie."""
    heard = [detector.weight > 0 for detector in manifest.detectors]
    apart = log_odds(manifest, found)[:, heard]
    return np.ptp(apart, axis=1) if any(heard) else np.zeros(len(apart))


def log_odds(manifest: Manifest, found: Scored) -> NDArray[np.float64]:
    """Calibrated log-odds [N, D]; of pictures with a face by the detectors' own lines for faces."""
    columns = []
    for index, one in enumerate(manifest.detectors):
        slope, intercept = one.face_line or (one.slope, one.intercept)
        logits = found.logits[:, index]
        columns.append(np.where(found.faces, slope * logits + intercept, one.slope * logits + one.intercept))
    return np.stack(columns, axis=1)


def _prepare(picture: Picture, short_side: int | None, change: Change | None) -> RGB:
    rgb = load(picture) if short_side is None else load_at(picture, short_side)
    return rgb if change is None else change(rgb)


def _chunks(pictures: Sequence[Picture], size: int) -> Iterator[Sequence[Picture]]:
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]
