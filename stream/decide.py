"""From raw logits to a verdict: calibrate each detector, fuse, compare with the policy's thresholds.

Calibration is Platt scaling (Platt 1999, "Probabilistic outputs for support vector machines"): one
line a detector, so that its logit becomes a log-odds. Fusion is logistic stacking with non-negative
weights (Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked regressions", on why
non-negative): no detector can argue for a picture by scoring it as more synthetic.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.spec import Manifest
from stream.errors import CannotEvaluate, NotApplicable, Undeliverable
from stream.policy import Policy
from stream.reasons import Reason
from stream.types import Judgement, Verdict


def calibrate(manifest: Manifest, logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-odds [N, D] of raw logits [N, D], detectors in the manifest's order."""
    slopes = np.array([detector.slope for detector in manifest.detectors])  # [D]
    intercepts = np.array([detector.intercept for detector in manifest.detectors])  # [D]
    log_odds: NDArray[np.float64] = slopes * logits.astype(np.float64) + intercepts  # [N, D]
    return log_odds


def fuse(manifest: Manifest, logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probability of synthetic [N], in 0..1, of raw logits [N, D]."""
    weights = np.array([detector.weight for detector in manifest.detectors])  # [D]
    log_odds = manifest.fusion_bias + calibrate(manifest, logits) @ weights  # [N]
    return _sigmoid(log_odds)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(x))  # in 0..1, so nothing overflows
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


class Judge:
    """Judges pictures with one bundle's calibration and one policy."""

    def __init__(self, manifest: Manifest, policy: Policy) -> None:
        self._manifest = manifest
        self._policy = policy
        self._names = tuple(detector.name for detector in manifest.detectors)

    def judge(self, logits: NDArray[np.floating], tenant: str) -> Judgement:
        """The judgement on one picture from the logits [F, D] of its F sampled frames.

        The highest-scoring frame decides. Raises Undeliverable where a logit is not a number:
        that is a defect of the engine, and must not pass for a clean picture.
        """
        if logits.ndim != 2 or logits.shape[0] == 0 or logits.shape[1] != len(self._names):
            raise ValueError(f"logits of shape [F, {len(self._names)}] were expected, not {logits.shape}")
        if not np.isfinite(logits).all():
            named = dict(zip(self._names, logits.max(axis=0).tolist(), strict=True))
            raise Undeliverable(Reason.INTERNAL_ERROR, f"the engine gave a logit that is no number: {named}")
        scores = fuse(self._manifest, logits)  # [F]
        top = int(scores.argmax())
        verdict, reasons = self._classify(float(scores[top]), tenant)
        if len(scores) > 1:
            reasons = (*reasons, Reason.ANIMATED)
        deciding: Mapping[str, float] = dict(zip(self._names, logits[top].tolist(), strict=True))
        return Judgement(verdict, float(scores[top]), deciding, reasons, self._policy.id)

    def unable(self, error: CannotEvaluate) -> Judgement:
        """The judgement on a picture that has no logits: `not_applicable` or `unable_to_evaluate`."""
        verdict: Verdict = "not_applicable" if isinstance(error, NotApplicable) else "unable_to_evaluate"
        return Judgement(verdict, None, dict.fromkeys(self._names), (error.reason,), self._policy.id)

    def _classify(self, score: float, tenant: str) -> tuple[Verdict, tuple[Reason, ...]]:
        thresholds = self._policy.thresholds(tenant)
        if score >= thresholds.synthetic:
            return "synthetic", (Reason.ABOVE_SYNTHETIC,)
        if score >= thresholds.suspicious:
            return "suspicious", (Reason.ABOVE_SUSPICIOUS,)
        return "authentic", ()
