"""Calibrate a bundle: Platt lines, fusion and thresholds, written into its manifest."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.bundle import CARD, Bundle, write_bundle
from models.calibrate import Threshold, conformal_threshold, fit_fusion, fit_platt
from models.card import render_card
from models.evaluation.run import Settings, evaluate_bundle
from models.layouts import Picture
from models.scoring import open_engine, probabilities, score
from models.spec import DetectorSpec, Manifest, PolicySpec

SHORT_SIDE = 256
LEAST = 40  # reals of one source, below which its own threshold means nothing


def calibrate_bundle(
    bundle: Bundle,
    pictures: Sequence[Picture],
    policy_reals: Sequence[Picture],
    *,
    synthetic_rate: float = 0.02,
    suspicious_rate: float = 0.1,
    progress: Callable[[int], None] | None = None,
) -> Bundle:
    """Fit on `pictures` (never trained on), set thresholds on `policy_reals`, rewrite the manifest.

    The thresholds are those of the worst source: each source of real photographs with enough pictures
    gets its own split-conformal threshold, all of them together one more, and the highest counts.
    """
    run, manifest = open_engine(bundle), bundle.manifest
    logits = score(run, manifest.views, pictures, short_side=SHORT_SIDE, progress=progress)
    fused = fuse(manifest, logits, pictures)
    reals = probabilities(fused, score(run, manifest.views, policy_reals, short_side=SHORT_SIDE))
    sources = np.array([picture.source for picture in policy_reals])
    synthetic = worst_threshold(reals, sources, synthetic_rate)
    suspicious = worst_threshold(reals, sources, suspicious_rate)
    basis = (
        f"a false-positive rate of {synthetic_rate:.0%} (synthetic) and {suspicious_rate:.0%} (suspicious) "
        f"on the worst of {len(set(sources.tolist()))} sources of real photographs ({len(reals)} pictures, "
        f"short side {SHORT_SIDE}), none of them trained on; other photographs may be flagged more often"
    )
    policy = PolicySpec(
        id=f"{manifest.name}/1",
        suspicious=min(suspicious.value, synthetic.value),
        synthetic=synthetic.value,
        basis=basis,
    )
    return rewrite(bundle, fused.model_copy(update={"policy": policy}))


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
        "pictures": described,
        "summary": {name: round(value, 3) for name, value in summary.items()},
        "generators": generators,
        "sources": {row.source: round(row.false_positive_rate, 3) for row in table.sources},
    }
    manifest = bundle.manifest.model_copy(update={"metrics": metrics})
    (bundle.path / CARD).write_text(render_card(manifest), encoding="utf-8")
    return rewrite(bundle, manifest)


def fuse(manifest: Manifest, logits: NDArray[np.float64], pictures: Sequence[Picture]) -> Manifest:
    """The manifest with Platt lines and non-negative stacking fitted on raw logits [N, D]."""
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    lines = [fit_platt(logits[:, index], labels) for index in range(logits.shape[1])]
    calibrated = np.stack([line.apply(logits[:, index]) for index, line in enumerate(lines)], axis=1)
    fusion = fit_fusion(calibrated, labels, [picture.family for picture in pictures])
    detectors = tuple(
        DetectorSpec(
            name=d.name, view=d.view, slope=line.slope, intercept=line.intercept, weight=float(weight)
        )
        for d, line, weight in zip(manifest.detectors, lines, fusion.weights, strict=True)
    )
    return manifest.model_copy(update={"detectors": detectors, "fusion_bias": fusion.bias})


def worst_threshold(reals: NDArray[np.float64], sources: NDArray[np.str_], rate: float) -> Threshold:
    """The highest of the thresholds of all reals together and of each source with at least LEAST of them.

    A source with too few reals for the rate gets the lowest rate that it can speak of: none flagged.
    """
    groups = [reals, *(reals[sources == name] for name in np.unique(sources))]
    found = [
        conformal_threshold(group, max(rate, 1 / (len(group) + 1)))
        for index, group in enumerate(groups)
        if index == 0 or len(group) >= LEAST
    ]
    return max(found, key=lambda one: one.value)


def rewrite(bundle: Bundle, manifest: Manifest) -> Bundle:
    """Write the bundle's manifest again, with the hashes of the files as they are now."""
    names = [name for name in Manifest.model_fields if name not in ("files", "schema_")]
    return write_bundle(bundle.path, {name: getattr(manifest, name) for name in names})
