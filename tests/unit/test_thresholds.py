"""Thresholds keep their promise to a new real photograph: exactly, with ties, for every source."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from models.calibrate import CalibrationError
from models.policy_fit import Rates, choose_policy
from models.thresholds import (
    ALL,
    Reals,
    chance_threshold,
    clopper_pearson,
    conformal_threshold,
    highest,
    source_thresholds,
)


def reals_of(
    scores: np.ndarray, sources: Sequence[str] | None = None, photographs: np.ndarray | None = None
) -> Reals:
    """Each picture a photograph of its own, all of one source, unless said otherwise."""
    count = len(scores)
    names = np.arange(count) if photographs is None else photographs
    return Reals(scores, np.array(sources or ["a"] * count), names.astype(str))


def rate_of_a_new_real(scores: np.ndarray, target: float) -> Fraction:
    """P(new real flagged), exactly: each of exchangeable reals is equally likely to be the new one."""
    return rate_of_a_new_photograph(scores, np.arange(len(scores)), target)


def rate_of_a_new_photograph(scores: np.ndarray, photographs: np.ndarray, target: float) -> Fraction:
    """The same where a photograph has several pictures, of which each is as likely to be uploaded."""
    rate = Fraction(0)
    names = np.unique(photographs).tolist()
    for new in names:
        own = photographs == new
        value = conformal_threshold(reals_of(scores[~own], None, photographs[~own]), target).value
        rate += Fraction(int((scores[own] >= value).sum()), int(own.sum()))
    return rate / len(names)


@pytest.mark.parametrize("target", [0.01, 0.02, 0.05, 0.1, 0.25])
@pytest.mark.parametrize("reals", [99, 100, 150, 199])
def test_without_ties_the_rate_of_a_new_real_is_known_exactly(reals: int, target: float) -> None:
    """floor((n + 1) target) / (n + 1): never above the target, and less than one rank below it."""
    scores = np.random.default_rng(0).permutation(reals + 1) / reals
    exact = Fraction(int((reals + 1) * target + 1e-9), reals + 1)
    assert rate_of_a_new_real(scores, target) == exact
    assert exact <= target + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=11, max_size=40), st.sampled_from([0.1, 0.2, 0.5]))
def test_with_ties_a_new_real_is_flagged_no_more_often(values: list[int], target: float) -> None:
    assert rate_of_a_new_real(np.array(values) / 6, target) <= target


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=11, max_size=30),
    st.sampled_from([0.1, 0.2, 0.5]),
)
def test_pictures_of_one_photograph_count_as_one(groups: list[list[int]], target: float) -> None:
    scores = np.array([score for group in groups for score in group]) / 9
    photographs = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    assert rate_of_a_new_photograph(scores, photographs, target) <= target


def test_copies_of_one_photograph_prove_nothing() -> None:
    copies = reals_of(np.linspace(0, 1, 990), None, np.repeat(np.arange(99), 10))
    assert conformal_threshold(copies, 0.01).upper == clopper_pearson(0, 99)
    with pytest.raises(CalibrationError, match="at least 199 photographs, not 99"):
        conformal_threshold(copies, 0.005)


def test_every_lower_threshold_would_break_the_promise() -> None:
    scores = np.arange(100) / 100
    lowered = [scores[new] >= np.sort(np.delete(scores, new))[97] for new in range(100)]
    assert (sum(lowered), rate_of_a_new_real(scores, 0.01)) == (2, Fraction(1, 100))


def test_the_bound_is_right_as_often_as_it_says_though_the_threshold_was_chosen_on_the_same_reals() -> None:
    rng = np.random.default_rng(7)
    found = [conformal_threshold(reals_of(rng.uniform(0, 1, 300)), 0.05, confidence=0.9) for _ in range(500)]
    right = np.mean([1 - one.value <= one.upper for one in found])
    assert right == pytest.approx(0.9, abs=4 * np.sqrt(0.9 * 0.1 / 500))


def test_too_few_reals_are_refused_with_the_number_needed() -> None:
    with pytest.raises(CalibrationError, match="at least 99 photographs, not 98"):
        conformal_threshold(reals_of(np.zeros(98)), 0.01)
    assert conformal_threshold(reals_of(np.linspace(0, 1, 99)), 0.01).above == 0


def test_equal_scores_are_not_flagged_by_rounding() -> None:
    reals = np.r_[np.zeros(50), np.full(950, 0.25)]
    assert (reals >= conformal_threshold(reals_of(reals), 0.05).value).sum() == 0


@pytest.mark.parametrize(("count", "above"), [(1, 0), (5, 0), (6, 1), (13, 1), (35, 1), (36, 2)])
def test_a_small_source_may_have_as_many_flagged_as_chance_explains(count: int, above: int) -> None:
    scores = np.arange(count) / count
    found = chance_threshold(reals_of(scores), 0.01, 0.95, "few")
    assert found.above == above == (scores >= found.value).sum()
    assert binom.sf(above, count, 0.01) <= 0.05  # one more would be no chance
    assert above == 0 or binom.sf(above - 1, count, 0.01) > 0.05


@pytest.mark.parametrize("few", [3, 12, 39, 40, 60])
def test_a_source_that_is_flagged_as_a_whole_raises_the_threshold_however_small_it_is(few: int) -> None:
    rng = np.random.default_rng(1)
    reals = np.r_[rng.uniform(0, 0.5, 2000), rng.uniform(0.8, 0.9, few)]
    sources = ["many"] * 2000 + ["few"] * few
    found = highest(source_thresholds(reals_of(reals, sources), 0.02))
    assert found.group == "few"
    assert (reals[2000:] >= found.value).mean() <= 1 / 3
    assert conformal_threshold(reals_of(reals), 0.02).value < found.value


def test_the_highest_threshold_keeps_the_rate_of_all_reals_and_of_each_source() -> None:
    rng = np.random.default_rng(2)
    sources = rng.choice(["a", "b", "c"], 900, p=[0.7, 0.2, 0.1]).tolist()
    reals = rng.uniform(0, 1, 900) ** np.array([{"a": 3, "b": 2, "c": 1}[name] for name in sources])
    thresholds = source_thresholds(reals_of(reals, sources), 0.05)
    value = highest(thresholds).value
    assert [one.group for one in thresholds] == [ALL, "a", "b", "c"]
    for one in thresholds:
        group = reals if one.group == ALL else reals[np.array(sources) == one.group]
        assert (group >= value).sum() <= one.above
        assert one.above + 1 <= 0.05 * (len(group) + 1)


def test_a_policy_says_what_it_promises_and_what_it_flags_of_each_source() -> None:
    rng = np.random.default_rng(3)
    reals = np.r_[rng.uniform(0, 0.5, 200), rng.uniform(0.5, 0.6, 8)]
    rates = Rates(0.02, 0.2, confidence=0.9, recheck=None)
    chosen = choose_policy("eu", reals_of(reals, ["many"] * 200 + ["few"] * 8), np.zeros(208), rates)
    assert chosen.policy.synthetic > chosen.policy.suspicious
    assert (chosen.synthetic.group, chosen.suspicious.group) == ("few", "few")
    rows = {row.source: row for row in chosen.rows}
    assert list(rows) == [ALL, "few", "many"]
    assert (rows[ALL].photographs, rows["few"].synthetic, rows["few"].flagged) == (208, 1, 3)
    assert rows["many"].flagged == 0
    assert rows[ALL].synthetic_at_most == clopper_pearson(3, 208, 0.9)
    for words in (
        "2.0% of real",
        "20.0% suspicious",
        "208 pictures of 208 photographs of 2 sources",
        "the source few decided",
    ):
        assert words in chosen.policy.basis


def test_score_and_disagreement_share_the_rate_of_suspicious() -> None:
    rng = np.random.default_rng(4)
    reals, spreads = rng.uniform(0, 1, 999), rng.uniform(0, 5, 999)
    chosen = choose_policy("eu", reals_of(reals), spreads, Rates(0.01, 0.1, 0.04))
    assert chosen.policy.disagreement is not None
    wide, high = spreads >= chosen.policy.disagreement, reals >= chosen.policy.suspicious
    assert (wide.sum(), high.sum()) == (39, 59)  # floor(1000 rate) - 1
    assert chosen.rows[0].flagged == (wide | high).sum() <= 98
    assert chosen.rows[0].flagged_at_most > 0.1
    assert chosen.policy.recheck == 90


def test_a_real_that_scores_one_cannot_be_kept_from_being_flagged() -> None:
    reals = np.r_[np.linspace(0, 0.5, 99), 1.0]
    with pytest.raises(CalibrationError, match="a real picture of all scores 1"):
        choose_policy("eu", reals_of(reals), reals, Rates(0.01, 0.1))


def test_clopper_pearson_against_the_exact_binomial() -> None:
    assert clopper_pearson(0, 299) == pytest.approx(1 - 0.05 ** (1 / 299))  # the rule of three
    assert clopper_pearson(5, 5) == 1.0
