"""From raw logits to a verdict: calibrate each detector, fuse, compare with the policy's thresholds.

Calibration is Platt scaling (Platt 1999, "Probabilistic outputs for support vector machines"): one
line a detector, so that its logit becomes a log-odds. Fusion is logistic stacking with non-negative
weights (Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked regressions", on why
non-negative): no detector can argue for a picture by scoring it as more synthetic.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.resave import with_copy
from models.spec import Manifest
from stream.errors import CannotEvaluate, NotApplicable, Undeliverable
from stream.policy import Policy
from stream.reasons import Reason
from stream.types import FLAGGED, Judgement, Verdict

Faces = NDArray[np.bool_]  # [N]: whether face views show a face (models/faces.py) and not the whole picture


class Fusion:
    """One bundle's calibration and fusion; its numbers are gathered once, not for every picture."""

    def __init__(self, manifest: Manifest) -> None:
        detectors = manifest.detectors
        self._lines = np.array([(one.slope, one.intercept) for one in detectors])  # [D, 2]
        self._face_lines = np.array([one.face_line or (one.slope, one.intercept) for one in detectors])
        self._weights = np.array([one.weight for one in detectors])  # [D]
        self._heard = self._weights > 0
        self._bias = manifest.fusion_bias

    def calibrate(self, logits: NDArray[np.floating], faces: Faces | None = None) -> NDArray[np.float64]:
        """Log-odds [N, D] of raw logits [N, D], in the manifest's order; faces by their own lines."""
        lines = self._lines
        if faces is not None and faces.any():
            lines = np.where(faces[:, None, None], self._face_lines, lines)  # [N, D, 2]
        log_odds: NDArray[np.float64] = lines[..., 0] * logits.astype(np.float64) + lines[..., 1]  # [N, D]
        return log_odds

    def fuse(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of synthetic [N], in 0..1, of calibrated log-odds [N, D]."""
        return _sigmoid(self._bias + log_odds @ self._weights)

    def spread(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far apart [N] the calibrated log-odds [N, D] of the detectors with a say lie."""
        heard = log_odds[:, self._heard]
        return heard.max(axis=1) - heard.min(axis=1) if heard.shape[1] else np.zeros(len(log_odds))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(x))  # in 0..1, so nothing overflows
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


class Judge:
    """Judges pictures with one bundle's calibration and one policy."""

    def __init__(self, manifest: Manifest, policy: Policy) -> None:
        self._fusion = Fusion(manifest)
        self._policy = policy
        self._names = tuple(detector.name for detector in manifest.detectors)

    @property
    def recheck(self) -> int | None:
        """JPEG quality of the copies that the policy asks for; None: it asks for none."""
        return self._policy.recheck

    def doubtful(self, logits: NDArray[np.floating], tenant: str, faces: Faces | None = None) -> bool:
        """Whether a picture of these logits [F, D] would be flagged: only then can a copy change anything.

        Raises as `judge` does.
        """
        self._check(logits)
        scores, spreads = self._read(logits, faces)
        return self._classify(float(scores.max()), float(spreads.max()), tenant)[0] in FLAGGED

    def judge(
        self,
        logits: NDArray[np.floating],
        tenant: str,
        copy: NDArray[np.floating] | None = None,
        faces: Faces | None = None,
    ) -> Judgement:
        """The judgement on one picture from the logits [F, D] of its F sampled frames.

        The highest-scoring frame decides; `faces` [F] says of which a detector saw the face alone. With the
        logits of a `copy` [F, D], the lower score of each frame counts (`models.resave.with_copy`), and the
        lower spread: what flags a picture has to outlive one more saving, and a copy can only ever make a
        verdict milder. The judgement has the logits of the lower score. Raises
        Undeliverable where a logit is not a number: that is a defect of the engine, and must not pass for
        a clean picture.
        """
        self._check(logits)
        scores, spreads = self._read(logits, faces)  # [F], [F]
        if copy is not None:
            self._check(copy)
            again, apart = self._read(copy, faces)
            logits = np.where((again < scores)[:, None], copy, logits)
            scores = with_copy(scores, again, self._policy.thresholds(tenant).suspicious)
            spreads = np.minimum(spreads, apart)
        top = int(scores.argmax())
        verdict, reasons = self._classify(float(scores[top]), float(spreads.max()), tenant)
        reasons += (Reason.FACE,) if faces is not None and faces[top] else ()
        reasons += (Reason.RECHECKED,) if copy is not None else ()
        reasons += (Reason.ANIMATED,) if len(scores) > 1 else ()
        deciding: Mapping[str, float] = dict(zip(self._names, logits[top].tolist(), strict=True))
        return Judgement(verdict, float(scores[top]), deciding, reasons, self._policy.id)

    def unable(self, error: CannotEvaluate) -> Judgement:
        """The judgement on a picture that has no logits: `not_applicable` or `unable_to_evaluate`."""
        verdict: Verdict = "not_applicable" if isinstance(error, NotApplicable) else "unable_to_evaluate"
        return Judgement(verdict, None, dict.fromkeys(self._names), (error.reason,), self._policy.id)

    def _read(
        self, logits: NDArray[np.floating], faces: Faces | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        log_odds = self._fusion.calibrate(logits, faces)
        return self._fusion.fuse(log_odds), self._fusion.spread(log_odds)

    def _check(self, logits: NDArray[np.floating]) -> None:
        if logits.ndim != 2 or logits.shape[0] == 0 or logits.shape[1] != len(self._names):
            raise ValueError(f"logits of shape [F, {len(self._names)}] were expected, not {logits.shape}")
        if not np.isfinite(logits).all():
            named = dict(zip(self._names, logits.max(axis=0).tolist(), strict=True))
            raise Undeliverable(Reason.INTERNAL_ERROR, f"the engine gave a logit that is no number: {named}")

    def _classify(self, score: float, apart: float, tenant: str) -> tuple[Verdict, tuple[Reason, ...]]:
        thresholds, bound = self._policy.thresholds(tenant), self._policy.disagreement
        if score >= thresholds.synthetic:
            return "synthetic", (Reason.ABOVE_SYNTHETIC,)
        if score >= thresholds.suspicious:
            return "suspicious", (Reason.ABOVE_SUSPICIOUS,)
        if bound is not None and apart >= bound:
            return "suspicious", (Reason.DETECTORS_DISAGREE,)
        return "authentic", ()
