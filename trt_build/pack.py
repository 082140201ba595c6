"""A trained run -> a bundle: graph, golden logits, card and manifest, not calibrated yet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import GOLDEN, ONNX, Bundle, write_bundle
from models.ensemble import Ensemble
from models.errors import ModelError
from models.spec import VIEWS_VERSION, DetectorSpec, PolicySpec
from models.views import render_all
from trt_build.export import export_onnx
from trt_build.graph_file import ONE_FILE
from trt_build.halve import round_weights
from trt_build.verify import TOLERANCE, golden_difference

GOLDEN_PICTURES = 4
GOLDEN_TOLERANCE = {"f32": 1e-3, "bf16": 0.5, "f16": 0.1}
UNCALIBRATED = PolicySpec(id="uncalibrated/1", suspicious=0.5, synthetic=0.9, basis="none: not calibrated")


class ExportError(ModelError):
    """The graph does not compute what torch computes."""


def pack(
    ensemble: Ensemble,
    name: str,
    training: dict[str, Any],
    licences: dict[str, str],
    out: Path,
    one_file: int = ONE_FILE,
) -> Bundle:
    """Write a bundle of `ensemble` into the folder `out`. Raises ExportError where parity fails.

    Weights of more than `one_file` bytes lie in a data file beside the graph.
    """
    out.mkdir(parents=True, exist_ok=True)
    round_weights(ensemble)
    export_onnx(ensemble, out / ONNX, one_file)
    write_golden(out / GOLDEN, ensemble, golden_pictures())
    bundle = write_bundle(out, manifest_fields(ensemble, name, training, licences))
    difference = golden_difference(bundle)
    if difference > TOLERANCE:
        raise ExportError(f"{bundle.onnx} differs from torch by {difference:.2e}, more than {TOLERANCE:.0e}")
    return bundle


def manifest_fields(
    ensemble: Ensemble, name: str, training: dict[str, Any], licences: dict[str, str]
) -> dict[str, Any]:
    """Everything of the manifest but `files`, with the mean of the raw logits as its fusion."""
    detectors = [
        DetectorSpec(name=branch.name, view=view, slope=1.0, intercept=0.0, weight=1 / len(ensemble.reads))
        for branch, view in zip(ensemble.detectors(), ensemble.reads, strict=True)
    ]
    return {
        "name": name,
        "tower": ensemble.tower.name,
        "views_version": VIEWS_VERSION,
        "views": list(ensemble.views.values()),
        "detectors": detectors,
        "fusion_bias": 0.0,
        "policy": UNCALIBRATED,
        "golden_tolerance": GOLDEN_TOLERANCE,
        "training": training,
        "metrics": {},
        "licences": licences,
    }


def golden_pictures() -> list[NDArray[np.uint8]]:
    """Made-up pictures [H, W, 3] with smooth and rough parts, the same on every machine."""
    rows, columns = np.mgrid[0:300, 0:400].astype(np.int64)
    made = []
    for index in range(GOLDEN_PICTURES):
        channels = [
            (rows * (3 + index) + columns * 2) // 7 % 256,
            (rows * columns // (40 + 17 * index)) % 256,
            (rows ^ (columns >> index)) % 256,
        ]
        made.append(np.stack(channels, axis=-1).astype(np.uint8))
    return made


def write_golden(file: Path, ensemble: Ensemble, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Views of `pictures` and their fp32 logits [G, D], as computed by torch one picture at a time."""
    rendered = [render_all(picture, ensemble.views.values()) for picture in pictures]
    with torch.inference_mode():
        logits = [
            ensemble({name: torch.from_numpy(a[None].copy()) for name, a in v.items()}) for v in rendered
        ]
    views = {name: np.stack([one[name] for one in rendered]) for name in ensemble.views}
    np.savez_compressed(file, logits=torch.cat(logits).numpy(), **views)  # type: ignore[arg-type]
