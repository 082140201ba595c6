"""Calibrate a bundle: Platt lines, fusion and thresholds, written into its manifest."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.bundle import CARD, Bundle, write_bundle
from models.calibrate import fit_fusion, fit_platt
from models.card import render_card
from models.data import Split
from models.evaluation.run import Settings, evaluate_bundle
from models.layouts import Picture
from models.policy_fit import Chosen, Rates, choose_policy
from models.resave import with_copy
from models.scoring import Scored, log_odds, open_engine, probabilities, score, spreads
from models.spec import DetectorSpec, Manifest
from models.thresholds import Reals

SHORT_SIDE = 256
REFERENCE = "reference_scores"  # in the metrics: `deciles` of the reals that the thresholds were set on
FEW = 20  # faces of a class, below which faces have no line of their own


def halves(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Two halves by a hash of the group: one to fit the score on, one whose reals may set thresholds.

    What the thresholds promise needs a score that was fixed before their reals were looked at.
    """
    first: list[Picture] = []
    second: list[Picture] = []
    for picture in pictures:
        even = hashlib.sha256(f"calibrate/{picture.group}".encode()).digest()[0] % 2 == 0
        (first if even else second).append(picture)
    return first, second


def recalibrate(bundle: Bundle, split: Split, rates: Rates) -> tuple[Bundle, Chosen]:
    """Calibrate on the validation pictures and measure on the test pictures: all that the command does.

    Thresholds are set on the reals of validation that nothing was fitted on, and on those of held-out
    sources. Raises CalibrationError.
    """
    fitted, rest = halves(split.validation)
    test = set(split.test)
    reals = [p for p in (*rest, *split.unseen) if p.label == 0 and p not in test]
    done, chosen = calibrate_bundle(bundle, fitted, reals, rates)
    described = (
        f"{len(split.test)} test pictures whose photographs and prompts were not trained on, short side 256; "
        "their generators were trained on, so this says nothing about unseen ones"
    )
    return measure_bundle(done, split.test, described), chosen


def calibrate_bundle(
    bundle: Bundle,
    pictures: Sequence[Picture],
    policy_reals: Sequence[Picture],
    rates: Rates,
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[Bundle, Chosen]:
    """Fit on `pictures`, set thresholds on `policy_reals`, rewrite the manifest.

    Where a copy is looked at before anything is flagged, lines and fusion are fitted on copies, where they
    decide: else detectors whose traces a re-save washes out would have too large a say.
    The two share no photograph (see `halves`), and the bundle was trained on neither. What the thresholds
    promise: models/thresholds.py. Raises CalibrationError where there is too little of anything.
    """
    run, manifest = open_engine(bundle), bundle.manifest
    found = score(
        run, manifest.views, pictures, short_side=SHORT_SIDE, resave=rates.recheck, progress=progress
    )
    fused = fuse(manifest, found, pictures)
    reals = [score(run, manifest.views, policy_reals, short_side=SHORT_SIDE, progress=progress)]
    if rates.recheck is not None:
        reals.append(score(run, manifest.views, policy_reals, short_side=SHORT_SIDE, resave=rates.recheck))
    first, again = probabilities(fused, reals[0]), probabilities(fused, reals[-1])
    scores = np.minimum(first, again)
    apart = np.min([spreads(fused, one) for one in reals], axis=0)
    sources = np.array([picture.source for picture in policy_reals])
    photographs = np.array([picture.group for picture in policy_reals])
    chosen = choose_policy(manifest.name, Reals(scores, sources, photographs), apart, rates)
    suspicious = chosen.policy.suspicious  # below: what a worker writes into rows
    stored = np.where(first >= suspicious, with_copy(first, again, suspicious), first)
    metrics = {REFERENCE: deciles(stored)}
    return rewrite(bundle, fused.model_copy(update={"policy": chosen.policy, "metrics": metrics})), chosen


def deciles(scores: NDArray[np.float64]) -> list[float]:
    """The quantiles at 10 %, 20 %, ... 100 % of scores [N]: what a worker measures drift against."""
    return [float(value) for value in np.quantile(scores, np.linspace(0.1, 1, 10)).round(6)]


def measure_bundle(bundle: Bundle, pictures: Sequence[Picture], described: str) -> Bundle:
    """Measure the calibrated bundle on `pictures`; figures and model card go into it."""
    found = evaluate_bundle(bundle, pictures, Settings(short_side=SHORT_SIDE))
    table = found.fused
    summary = {**table.summary, "real_flips_jpeg90": found.flips[0].rate}
    generators = {
        row.generator: {
            "auc": round(row.figures.auc.value, 3),
            "auc_own": None if np.isnan(row.auc_own.value) else round(row.auc_own.value, 3),
            "facts_auc": round(row.facts_auc, 3),
            "found": round(row.figures.fake_accuracy.value, 3),
        }
        for row in table.generators
    }
    metrics = {
        **{name: value for name, value in bundle.manifest.metrics.items() if name == REFERENCE},
        "pictures": described,
        "summary": {name: round(value, 3) for name, value in summary.items()},
        "generators": generators,
        "sources": {row.source: round(row.false_positive_rate, 3) for row in table.sources},
    }
    manifest = bundle.manifest.model_copy(update={"metrics": metrics})
    (bundle.path / CARD).write_text(render_card(manifest), encoding="utf-8")
    return rewrite(bundle, manifest)


def fuse(manifest: Manifest, found: Scored, pictures: Sequence[Picture]) -> Manifest:
    """The manifest with Platt lines and non-negative stacking fitted on the scored pictures."""
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    views = {view.name: view for view in manifest.views}
    detectors = [
        _lines(detector, found.logits[:, index], labels, found.faces & views[detector.view].face)
        for index, detector in enumerate(manifest.detectors)
    ]
    lined = manifest.model_copy(update={"detectors": tuple(detectors)})
    fusion = fit_fusion(log_odds(lined, found), labels, [picture.family for picture in pictures])
    weighed = tuple(
        one.model_copy(update={"weight": float(weight)})
        for one, weight in zip(detectors, fusion.weights, strict=True)
    )
    return lined.model_copy(update={"detectors": weighed, "fusion_bias": fusion.bias})


def _lines(
    detector: DetectorSpec, logits: NDArray[np.float64], labels: NDArray[np.int64], faces: NDArray[np.bool_]
) -> DetectorSpec:
    """The detector with its line; with two, where both of them have FEW pictures of each class to rest on."""
    fewest = min(int((labels[part] == label).sum()) for part in (faces, ~faces) for label in (0, 1))
    if fewest < FEW:
        line = fit_platt(logits, labels)
        return detector.model_copy(
            update={"slope": line.slope, "intercept": line.intercept, "face_line": None}
        )
    face, line = fit_platt(logits[faces], labels[faces]), fit_platt(logits[~faces], labels[~faces])
    own = (face.slope, face.intercept)
    return detector.model_copy(update={"slope": line.slope, "intercept": line.intercept, "face_line": own})


def rewrite(bundle: Bundle, manifest: Manifest) -> Bundle:
    """Write the bundle's manifest again, with the hashes of the files as they are now."""
    names = [name for name in Manifest.model_fields if name not in ("files", "schema_")]
    return write_bundle(bundle.path, {name: getattr(manifest, name) for name in names})
