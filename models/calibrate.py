"""From raw logits to one score: Platt lines and non-negative stacking. No torch here.

All fits weigh the two classes alike: the score is the probability at even odds, and what share of a
platform's uploads is synthetic is for its operator to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.errors import ModelError

Matrix = NDArray[np.float64]  # [N, D]
Labels = NDArray[np.int64]  # [N], 0 real, 1 synthetic

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class CalibrationError(ModelError):
    """There is too little data for what was asked; the message says how much is needed."""


@dataclass(frozen=True, slots=True)
class Platt:
    """Calibrated logit = slope * logit + intercept."""

    slope: float
    intercept: float

    def apply(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.slope * logits + self.intercept


@dataclass(frozen=True, slots=True)
class Fusion:
    """Fused logit = calibrated logits @ weights + bias; the weights are never negative."""

    weights: NDArray[np.float64]  # [D]
    bias: float
    penalty: float  # the L2 strength that the held-out families chose
    held_out_loss: float  # log loss over held-out families at that strength

    def apply(self, calibrated: Matrix) -> NDArray[np.float64]:
        """[N, D] -> fused probability [N]."""
        return np.asarray(expit(calibrated @ self.weights + self.bias), dtype=np.float64)


def fit_platt(logits: NDArray[np.float64], labels: Labels) -> Platt:
    """Platt scaling with his smoothed targets (Platt 1999) and a slope that is never negative.

    A negative slope would say that the detector is wrong more often than not: that is a reason to drop
    it, not to turn it round.
    """
    _both_classes(labels)
    scale = float(logits.std()) or 1.0
    fitted = _logistic((logits / scale)[:, None], labels, penalty=1e-6, smoothed=True)
    return Platt(float(fitted[0]) / scale, float(fitted[-1]))


def fit_fusion(calibrated: Matrix, labels: Labels, families: Sequence[str]) -> Fusion:
    """Non-negative logistic stacking; its L2 strength is chosen on families that it was not fitted on.

    `families` names each picture's generator family; reals carry the family of the fake that they are
    paired with, or "" to be in every fold's training half and in every fold's test half. Random folds
    would leak: pictures of one generator share their traces.
    """
    _both_classes(labels)
    names = np.asarray(families)
    folds = [name for name in np.unique(names[labels == 1]) if name]
    if len(folds) < 2:
        raise CalibrationError("stacking needs fakes of at least two generator families to hold one out")
    losses = {penalty: _held_out_loss(calibrated, labels, names, folds, penalty) for penalty in PENALTIES}
    best = min(losses, key=lambda penalty: losses[penalty])
    fitted = _logistic(calibrated, labels, penalty=best)
    return Fusion(fitted[:-1], float(fitted[-1]), best, losses[best])


def _held_out_loss(
    calibrated: Matrix, labels: Labels, names: NDArray[np.str_], folds: Sequence[str], penalty: float
) -> float:
    losses = []
    for fold in folds:
        inside = (names != fold) & ~((labels == 1) & (names == ""))
        outside = (names == fold) | ((labels == 0) & (names == ""))
        fitted = _logistic(calibrated[inside], labels[inside], penalty=penalty)
        margin = calibrated[outside] @ fitted[:-1] + fitted[-1]
        losses.append(_log_loss(margin, labels[outside].astype(np.float64), _weights(labels[outside])))
    return float(np.mean(losses))


def _both_classes(labels: Labels) -> None:
    if set(np.unique(labels)) != {0, 1}:
        raise CalibrationError("calibration needs real and synthetic pictures; one of the classes is missing")


def _weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Half of the weight for each class, a sum of one; a missing class leaves the other its half."""
    ones = int(labels.sum())
    return np.where(labels == 1, 0.5 / max(1, ones), 0.5 / max(1, len(labels) - ones))


def _logistic(
    features: Matrix, labels: Labels, *, penalty: float, smoothed: bool = False
) -> NDArray[np.float64]:
    """Weighted logistic regression with non-negative coefficients: [D] coefficients, then the intercept."""
    positive, negative = int(labels.sum()), int((1 - labels).sum())
    high, low = ((positive + 1) / (positive + 2), 1 / (negative + 2)) if smoothed else (1.0, 0.0)
    targets, weights = np.where(labels == 1, high, low), _weights(labels)
    columns = features.shape[1]

    def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = features @ values[:-1] + values[-1]
        slope = weights * (expit(margin) - targets)
        gradient = np.append(features.T @ slope + penalty * values[:-1], slope.sum())
        return _log_loss(margin, targets, weights) + 0.5 * penalty * float(
            values[:-1] @ values[:-1]
        ), gradient

    start = np.append(np.full(columns, 1 / columns), 0.0)
    bounds = [(0, None)] * columns + [(None, None)]
    fitted = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(fitted.x, dtype=np.float64)


def _log_loss(
    margin: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    return float(weights @ (np.logaddexp(0, margin) - targets * margin))
