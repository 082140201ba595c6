"""Does PiN-CLIP's noise carry the answer? A linear classifier on it must not beat one on the features.

If it did, the generator would be the detector, and dropping it at serving would drop what was learned
(the ambiguity between VPN's label-selected and PiNI's label-free noise: models.pin_clip).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.batches import Seen
from models.metrics import auc
from models.pin_clip import PinClip
from models.towers.base import Tower

STRENGTH = 0.01  # inverse L2 strength: there are more dimensions than pictures
BATCHES = 8  # to fit on, and as many to measure on


@dataclass(frozen=True, slots=True)
class Samples:
    """Features and one draw of the noise for N pictures."""

    features: NDArray[np.float32]  # [N, J]
    noise: NDArray[np.float32]  # [N, J]
    labels: NDArray[np.int64]  # [N]


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """AUC of the two linear classifiers, on pictures that they were not fitted on."""

    features_auc: float
    noise_auc: float
    pictures: int
    validation: bool  # pictures that the detector was not trained on either

    @property
    def carries_label(self) -> bool:
        """Whether the noise alone tells the classes apart better than the features do."""
        return self.noise_auc > self.features_auc

    def facts(self) -> dict[str, Any]:
        """For the checkpoint."""
        rounded = {name: round(getattr(self, name), 3) for name in ("features_auc", "noise_auc")}
        return {**asdict(self), **rounded, "noise_beats_features": self.carries_label}


@torch.no_grad()
def draw(pin: PinClip, tower: Tower, batches: Iterable[Seen], view: str) -> Samples:
    """Features of the branch as it is served (no dropout), and the noise that training would add."""
    pin.eval()
    rows = []
    for seen in batches:
        prefix = tower.prefix(seen.pixels[view].to(tower.mean.device), pin.branch.start)
        f = pin.branch.features(tower, prefix)
        rows.append((f.float().cpu(), pin.noise(tower, f)[0].float().cpu(), seen.labels.long()))
    features, noise, labels = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
    return Samples(features, noise, labels)


def judge_noise(fit: Samples, held_out: Samples, *, validation: bool) -> NoiseReport:
    """Fit both classifiers on one half, measure them on the other."""
    aucs = []
    for name in ("features", "noise"):
        line = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=300))
        line.fit(getattr(fit, name), fit.labels)
        logits = line.decision_function(getattr(held_out, name))
        aucs.append(auc(logits[held_out.labels == 0], logits[held_out.labels == 1]))
    return NoiseReport(aucs[0], aucs[1], len(held_out.labels), validation)
