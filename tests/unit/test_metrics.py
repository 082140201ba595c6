"""The figures against scikit-learn and against what they must do by definition."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models import metrics
from models.evaluation import resampling
from models.evaluation.figures import compare
from models.metrics import Interval


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


@pytest.mark.parametrize("ties", [False, True])
def test_a_draws_figures_are_those_of_the_pictures_that_it_took(ties: bool) -> None:
    """The vectorised figures against the plain ones, on the pictures repeated as often as drawn."""
    real, fake = (1 / (1 + np.exp(-side)) for side in _scores(6, ties=ties))
    groups = [f"r{i // 3}" for i in range(len(real))] + [f"f{i // 2}" for i in range(len(fake))]
    weights = resampling.draw_weights(groups, 20, seed=1)
    masses = resampling.gather(real, fake, weights[:, : len(real)], weights[:, len(real) :])
    for draw, counts in enumerate(weights.astype(int)):
        some, others = real.repeat(counts[: len(real)]), fake.repeat(counts[len(real) :])
        labels = np.repeat([0, 1], [len(some), len(others)])
        joined = np.r_[some, others]
        for fast, plain in (
            (resampling.auc(masses), metrics.auc(some, others)),
            (resampling.average_precision(masses), metrics.average_precision(some, others)),
            (resampling.tpr_at_fpr(masses, 0.01), metrics.tpr_at_fpr(some, others, 0.01)),
            (resampling.tpr_at_fpr(masses, 0.05), metrics.tpr_at_fpr(some, others, 0.05)),
            (resampling.share_flagged(masses.levels, masses.fake, 0.5), (others >= 0.5).mean()),
            (resampling.calibration_error(masses), metrics.expected_calibration_error(joined, labels)),
        ):
            assert fast[draw] == pytest.approx(plain)


def test_all_pictures_of_a_group_are_drawn_together() -> None:
    weights = resampling.draw_weights(["a", "b", "a", "c", "b"], 30, seed=0)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights.std(axis=0).min() > 0


def _auc_interval(real: metrics.Scores, fake: metrics.Scores, groups: list[str], seed: int = 0) -> Interval:
    scores = 1 / (1 + np.exp(-np.r_[real, fake]))
    index = np.arange(len(scores))
    weights = resampling.draw_weights(groups, 400, seed)
    return compare(scores, index[: len(real)], index[len(real) :], weights, 0.5).figures().auc


def test_interval_repeats_and_holds_the_value() -> None:
    real, fake = _scores(4, ties=False)
    groups = [str(i) for i in range(len(real) + len(fake))]
    first = _auc_interval(real, fake, groups, seed=1)
    assert first == _auc_interval(real, fake, groups, seed=1)
    assert first.low < first.value < first.high


def test_copies_of_the_same_photograph_do_not_narrow_the_interval() -> None:
    real, fake = _scores(5, ties=False)
    names = [str(i) for i in range(len(real) + len(fake))]
    tenfold = real.repeat(10), fake.repeat(10)
    single = _auc_interval(real, fake, names)
    grouped = _auc_interval(*tenfold, [name for name in names for _ in range(10)])
    naive = _auc_interval(*tenfold, [str(i) for i in range(10 * len(names))])
    width = single.high - single.low
    assert grouped.high - grouped.low == pytest.approx(width, rel=0.25)
    assert naive.high - naive.low < 0.6 * width


def test_a_class_that_a_draw_left_out_does_not_pass_for_a_figure() -> None:
    weights = np.array([[1, 1, 0], [0, 0, 2]], dtype=np.float32)
    masses = resampling.gather(np.array([0.2, 0.4]), np.array([0.9]), weights[:, :2], weights[:, 2:])
    for drawn in (
        resampling.auc(masses),
        resampling.average_precision(masses),
        resampling.tpr_at_fpr(masses, 0.05),
        resampling.calibration_error(masses),
    ):
        assert np.isnan(drawn).all()


def test_a_constant_detector_correlates_with_nothing() -> None:
    labels = np.array([0, 0, 1, 1])
    logits = np.stack([np.array([0.0, 1.0, 2.0, 4.0]), np.ones(4)], axis=1)
    correlation = metrics.residual_correlation(logits, labels)
    assert correlation[0, 0] == pytest.approx(1.0)
    assert np.isnan(correlation[0, 1])


def test_residual_correlation_ignores_the_class_difference() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    logits = rng.normal(0, 1, (4000, 2)) + 5 * labels[:, None]
    assert abs(metrics.residual_correlation(logits, labels)[0, 1]) < 0.06
    assert np.corrcoef(logits[:, 0], logits[:, 1]).item(1) > 0.8
