"""A bundle of random weights in a few seconds: the fixture of everybody's tests."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import CARD, GOLDEN, ONNX, Bundle, write_bundle
from models.ensemble import Branch, Ensemble, Feature
from models.spec import VIEWS_VERSION, DetectorSpec, PolicySpec, ViewSpec
from models.towers.tiny import TinyTower
from models.views import render_all
from trt_build.export import export_onnx

VIEWS = [
    ViewSpec(name="crops", kind="crops", size=128, tile=64),
    ViewSpec(name="mosaic", kind="mosaic", size=224),
]
DETECTORS: dict[str, tuple[str, Feature]] = {  # name -> view, feature
    "pin_clip": ("crops", "joint"),
    "dgs_net": ("mosaic", "joint"),
    "masm": ("crops", "pooled"),
}
GOLDEN_PICTURES = 3


def tiny_ensemble(seed: int = 0) -> Ensemble:
    """Three detectors with random weights on the `tiny` tower, in eval mode."""
    tower = TinyTower(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        branches = [Branch(name, tower, 2, feature) for name, (_, feature) in DETECTORS.items()]
        for branch in branches:
            for weight in branch.parameters():  # detectors that differ from each other
                weight.data += 0.1 * torch.randn_like(weight)
    return Ensemble(tower, branches, VIEWS, [view for view, _ in DETECTORS.values()]).eval()


def write_tiny_bundle(path: Path, seed: int = 0) -> Bundle:
    """Export `tiny_ensemble(seed)` with golden logits into the folder `path` (made if missing)."""
    path.mkdir(parents=True, exist_ok=True)
    ensemble = tiny_ensemble(seed)
    export_onnx(ensemble, path / ONNX)
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(GOLDEN_PICTURES)]
    write_golden(path / GOLDEN, ensemble, pictures)
    (path / CARD).write_text(
        "# tiny\n\nRandom weights, for tests: its scores mean nothing.\n", encoding="utf-8"
    )
    return write_bundle(path, _manifest(seed))


def write_golden(file: Path, ensemble: Ensemble, pictures: list[NDArray[np.uint8]]) -> None:
    """Views of `pictures` and their fp32 logits [G, D], as computed by torch one picture at a time."""
    rendered = [render_all(picture, ensemble.views.values()) for picture in pictures]
    with torch.inference_mode():
        logits = [ensemble({name: torch.from_numpy(a)[None] for name, a in v.items()}) for v in rendered]
    views = {name: np.stack([one[name] for one in rendered]) for name in ensemble.views}
    np.savez_compressed(file, logits=torch.cat(logits).numpy(), **views)  # type: ignore[arg-type]


def _manifest(seed: int) -> dict[str, object]:
    return {
        "name": "tiny",
        "tower": TinyTower.name,
        "views_version": VIEWS_VERSION,
        "views": VIEWS,
        "detectors": [
            DetectorSpec(name=name, view=view, slope=1.0, intercept=0.0, weight=1 / 3)
            for name, (view, _) in DETECTORS.items()
        ],
        "fusion_bias": 0.0,
        "policy": PolicySpec(id="tiny/1", suspicious=0.5, synthetic=0.9, basis="none: random weights"),
        "golden_tolerance": {"f32": 1e-4, "bf16": 0.05, "f16": 0.01},
        "training": {"data": "none", "seed": seed},
        "metrics": {},
        "licences": {},
    }
