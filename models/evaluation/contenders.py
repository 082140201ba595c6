"""What is compared: a bundle's ensemble, its detectors, the mean of their logits, what stands beside it.

A contender is anything that turns views into logits: a bundle, or the run folder of a training that was
never calibrated (a linear probe, a plain LoRA fine-tune). One contender's logits give one method or several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from models.bundle import MANIFEST, Bundle, load_bundle
from models.resave import with_copy
from models.scoring import Engine, Run, Scored, log_odds, open_engine, probabilities, spreads
from models.spec import Manifest, ViewSpec

Values = NDArray[np.float64]
ENSEMBLE, MEAN = "ensemble", "mean of logits"
EVEN = (0.5,)  # where a method has no policy: flagged at even odds


@dataclass(frozen=True, slots=True)
class Method:
    """One score a picture, and where it flags."""

    name: str
    what: str  # in words, for the tables
    scores: Values  # [N] in [0, 1]
    margins: Values  # [N] the same order of pictures, not squeezed into [0, 1]
    cuts: tuple[float, ...]  # ascending; the last is that of `synthetic`
    widened: NDArray[np.bool_] | None = None  # [N]: at least suspicious, because the detectors disagree

    @property
    def threshold(self) -> float:
        return self.cuts[-1]

    def verdicts(self) -> NDArray[np.int64]:
        """[N]: 0 below all cuts, 1 from the first, ... Flagged where >= cut."""
        found = np.searchsorted(self.cuts, self.scores, side="right")
        least = 0 if self.widened is None else self.widened
        return np.asarray(np.maximum(found, least), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Contender:
    """What scores pictures: views -> logits -> methods."""

    name: str
    views: Sequence[ViewSpec]
    run: Run
    read: Callable[[Scored, Scored], list[Method]]  # of the pictures, of their copies -> methods
    recheck: Manifest | None = None  # whose policy asks for copies of what it would flag; None: no copies


def of_bundle(bundle: Bundle, engine: Engine, threads: int = 1) -> Contender:
    """The bundle under evaluation: its ensemble, the plain mean of its logits, and each detector."""
    manifest = bundle.manifest

    def read(found: Scored, copies: Scored) -> list[Method]:
        calibrated = log_odds(manifest, found)
        mean = calibrated.mean(axis=1)
        # Raw logits, so that a silenced detector keeps its order; of two lines, one needs the calibrated.
        margins = [
            (calibrated if one.face_line else found.logits)[:, index]
            for index, one in enumerate(manifest.detectors)
        ]
        singles = [
            Method(one.name, f"one detector, view {one.view}", expit(scores), margin, EVEN)
            for one, scores, margin in zip(manifest.detectors, calibrated.T, margins, strict=True)
        ]
        averaged = Method(MEAN, "mean of the calibrated logits", expit(mean), mean, EVEN)
        return [_fused(ENSEMBLE, "stacked, as served", manifest, found, copies), averaged, *singles]

    return Contender(manifest.name, manifest.views, open_engine(bundle, engine, threads), read, manifest)


def beside(name: str, folder: Path, engine: Engine, threads: int = 1) -> Contender:
    """A further bundle or run folder as one more row. Raises BundleError or CheckpointError."""
    return (
        _beside_bundle(name, folder, engine, threads) if (folder / MANIFEST).is_file() else _run(name, folder)
    )


def _beside_bundle(name: str, folder: Path, engine: Engine, threads: int) -> Contender:
    bundle = load_bundle(folder)
    manifest = bundle.manifest

    def read(found: Scored, copies: Scored) -> list[Method]:
        return [_fused(name, f"bundle {bundle.id} on {manifest.tower}", manifest, found, copies)]

    return Contender(name, manifest.views, open_engine(bundle, engine, threads), read, manifest)


def _fused(name: str, what: str, manifest: Manifest, found: Scored, copies: Scored) -> Method:
    """As stream/decide.py has it, with the score of a picture's copy."""
    policy = manifest.policy
    first, again = probabilities(manifest, found), probabilities(manifest, copies)
    scores = with_copy(first, again, policy.suspicious)
    margins = logit(np.clip(scores, 1e-15, 1 - 1e-15))
    apart = np.minimum(spreads(manifest, found), spreads(manifest, copies))
    widened = None if policy.disagreement is None else apart >= policy.disagreement
    return Method(name, what, scores, margins, (policy.suspicious, policy.synthetic), widened)


def _run(name: str, folder: Path) -> Contender:
    """A checkpoint in torch: its logits are not calibrated, so only their order and even odds mean much."""
    import torch

    from models.checkpoints import load_ensemble

    ensemble, _ = load_ensemble(folder)

    def run(views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = ensemble({view: torch.from_numpy(pixels) for view, pixels in views.items()})
        return np.asarray(logits.numpy(), dtype=np.float32)

    def read(found: Scored, _: Scored) -> list[Method]:
        mean = found.logits.mean(axis=1)
        what = f"checkpoint on {ensemble.tower.name}, not calibrated"
        return [Method(name, what, expit(mean), mean, EVEN)]

    return Contender(name, list(ensemble.views.values()), run, read)
