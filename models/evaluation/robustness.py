"""Laundering, the same for both classes, on pictures already at the common size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from models import augment, metrics
from models.evaluation.contenders import Method
from models.evaluation.tables import Panel
from models.resave import saved_as_jpeg
from models.scoring import Change

UNTOUCHED = "none"
GRID: dict[str, Change] = {
    **{f"jpeg{quality}": partial(saved_as_jpeg, quality=quality) for quality in (95, 90, 80, 70, 60, 50)},
    **{f"webp{quality}": partial(augment.webp, quality=quality) for quality in (90, 75, 50)},
    **{f"resize{scale}": partial(augment.rescaled, scale=scale) for scale in (0.5, 0.75, 1.5, 2.0)},
    **{f"blur{sigma}": partial(augment.blurred, sigma=sigma) for sigma in (0.5, 1.0, 2.0)},
    **{f"crop{share}": partial(augment.centre_crop, share=share) for share in (0.8, 0.6)},
    "screenshot": augment.screenshot,
}


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """One method after one change."""

    change: str
    method: str
    macro_auc: float
    worst_auc: float
    real_accuracy: float
    fake_accuracy: float
    real_flips: float  # share of reals whose verdict differs from that of the untouched picture
    fake_flips: float


def robustness_rows(
    on: Panel, clean: Mapping[str, Method], changed: Mapping[str, Sequence[Method]]
) -> list[RobustnessRow]:
    """`changed` maps each change to the methods' scores after it."""
    rows = [_row(on, UNTOUCHED, method, method) for method in clean.values()]
    rows += [_row(on, name, clean[one.name], one) for name, methods in changed.items() for one in methods]
    return rows


def _row(on: Panel, change: str, clean: Method, after: Method) -> RobustnessRow:
    real, scores = on.labels == 0, after.scores
    flips = after.verdicts() != clean.verdicts()
    found = [metrics.auc(scores[real], scores[on.fakes_of(name)]) for name in on.generators]
    return RobustnessRow(
        change=change,
        method=clean.name,
        macro_auc=float(np.mean(found)),
        worst_auc=min(found),
        real_accuracy=float((scores[real] < clean.threshold).mean()),
        fake_accuracy=float((scores[~real] >= clean.threshold).mean()),
        real_flips=float(flips[real].mean()),
        fake_flips=float(flips[~real].mean()),
    )
