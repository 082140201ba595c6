"""The figures against scikit-learn and against what they must do by definition."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models import metrics


def _scores(seed: int, *, ties: bool) -> tuple[metrics.Scores, metrics.Scores]:
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(0, 1, 83), rng.normal(0.7, 1.3, 61)
    return (real.round(0), fake.round(0)) if ties else (real, fake)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auc_and_ap_equal_scikit_learn(seed: int, ties: bool) -> None:
    real, fake = _scores(seed, ties=ties)
    labels = np.r_[np.zeros(len(real)), np.ones(len(fake))]
    scores = np.r_[real, fake]
    assert metrics.auc(real, fake) == pytest.approx(roc_auc_score(labels, scores))
    assert metrics.average_precision(real, fake) == pytest.approx(average_precision_score(labels, scores))


def test_threshold_never_flags_more_reals_than_allowed() -> None:
    real, _ = _scores(3, ties=True)
    for fpr in (0.0, 0.01, 0.05, 0.2, 0.5):
        assert (real > metrics.threshold_at_fpr(real, fpr)).mean() <= fpr


def test_threshold_is_as_low_as_it_may_be() -> None:
    real = np.arange(100.0)
    assert (real > metrics.threshold_at_fpr(real, 0.05)).sum() == 5


def test_an_empty_class_is_nan_and_not_a_number_that_looks_good() -> None:
    empty, some = np.array([]), np.array([0.1, 0.9])
    for figure in (metrics.auc, metrics.average_precision):
        assert np.isnan(figure(empty, some))
        assert np.isnan(figure(some, empty))
    assert np.isnan(metrics.tpr_at_fpr(empty, some, 0.05))


def test_calibrated_probabilities_have_a_small_ece_and_overconfident_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    honest = rng.uniform(0, 1, 20_000)
    labels = (rng.uniform(0, 1, 20_000) < honest).astype(np.int64)
    assert metrics.expected_calibration_error(honest, labels) < 0.02
    sharpened = honest**3 / (honest**3 + (1 - honest) ** 3)
    assert metrics.expected_calibration_error(sharpened, labels) > 0.05


def test_interval_repeats_and_holds_the_value() -> None:
    real, fake = _scores(4, ties=False)
    first = metrics.bootstrap(metrics.auc, real, fake, seed=1)
    assert first == metrics.bootstrap(metrics.auc, real, fake, seed=1)
    assert first.low < first.value < first.high


def test_copies_of_the_same_photograph_do_not_narrow_the_interval() -> None:
    real, fake = _scores(5, ties=False)
    names = [f"r{i}" for i in range(len(real))], [f"f{i}" for i in range(len(fake))]
    single = metrics.bootstrap(metrics.auc, real, fake, groups=names)
    tenfold = real.repeat(10), fake.repeat(10)
    grouped = metrics.bootstrap(
        metrics.auc,
        *tenfold,
        groups=([n for n in names[0] for _ in range(10)], [n for n in names[1] for _ in range(10)]),
    )
    naive = metrics.bootstrap(metrics.auc, *tenfold)
    width = single.high - single.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.25)
    assert naive.high - naive.low < 0.6 * width


def test_residual_correlation_ignores_the_class_difference() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    logits = rng.normal(0, 1, (4000, 2)) + 5 * labels[:, None]
    assert abs(metrics.residual_correlation(logits, labels)[0, 1]) < 0.06
    assert np.corrcoef(logits[:, 0], logits[:, 1]).item(1) > 0.8
