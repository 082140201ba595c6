"""The drift of scores, against distributions whose index is known."""

import random

import pytest

from models.bundle import load_bundle
from models.spec import Manifest
from stream.drift import FEWEST, REFERENCE, WINDOW, Drift, reference_of
from stream.errors import ConfigError
from stream.settings import BUNDLED

DECILES = [step / 10 for step in range(1, 11)]  # of scores that are uniform on 0..1


def fed(scores: list[float], deciles: list[float] | None = None) -> float | None:
    drift = Drift(deciles or DECILES)
    for score in scores:
        drift.add(score)
    return drift.value


def test_scores_as_the_references_give_an_index_near_zero() -> None:
    random.seed(1)
    value = fed([random.random() for _ in range(WINDOW)])
    assert value is not None
    assert value < 0.03


def test_the_index_of_a_known_shift() -> None:
    """Half of the scores in the lowest tenth, the rest even: 0.45 ln 5.5 + 9 * (0.1 - 0.05) * ln 2 - ..."""
    even = [step / 10 + 0.05 for step in range(10)]
    value = fed(even * 50 + [0.05] * 500)
    assert value == pytest.approx(0.45 * 1.7047481 + 9 * 0.05 * 0.6931472)


def test_only_the_latest_scores_count() -> None:
    even = [step / 10 + 0.05 for step in range(10)]
    assert fed([0.99] * 5000 + even * (WINDOW // 10)) == pytest.approx(0)


def test_too_few_scores_give_no_index() -> None:
    assert fed([0.5] * (FEWEST - 1)) is None


def test_deciles_that_coincide_are_one_bin() -> None:
    saturated = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 1.0, 1.0]
    scores = [step / 10 - 0.05 for step in range(1, 8)] + [1.0] * 3
    assert fed(scores * 100, saturated) == pytest.approx(0)


def manifest(reference: object) -> Manifest:
    shipped = load_bundle(BUNDLED).manifest
    return shipped.model_copy(update={"metrics": {**shipped.metrics, REFERENCE: reference}})


@pytest.mark.parametrize("reference", [[0.1, 0.2], DECILES[::-1], 0.5, [*DECILES[:9], "high"]])
def test_other_references_are_refused(reference: object) -> None:
    with pytest.raises(ConfigError, match=r"bundle \S+:"):
        reference_of(manifest(reference))


def test_the_drift_is_from_the_bundle_s_own_reference() -> None:
    drift = reference_of(manifest(DECILES))
    assert drift is not None
    assert drift.value is None


def test_a_bundle_without_a_reference_has_no_drift() -> None:
    bare = load_bundle(BUNDLED).manifest
    assert reference_of(bare.model_copy(update={"metrics": {}})) is None
