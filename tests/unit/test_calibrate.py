"""Calibration and stacking recover what made the data."""

import numpy as np
import pytest

from models.calibrate import CalibrationError, fit_fusion, fit_platt
from models.metrics import expected_calibration_error


def _logits(rng: np.random.Generator, count: int, shift: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % 2
    return rng.normal(0, 1, count) + shift * labels, labels.astype(np.int64)


def test_platt_recovers_the_line_of_two_gaussians() -> None:
    """For unit Gaussians at 0 and 2 the log-odds are exactly 2 x - 2."""
    logits, labels = _logits(np.random.default_rng(0), 20_000)
    line = fit_platt(logits, labels)
    assert line.slope == pytest.approx(2.0, rel=0.05)
    assert line.intercept == pytest.approx(-2.0, rel=0.05)


def test_platt_undoes_a_saturated_and_shifted_detector() -> None:
    logits, labels = _logits(np.random.default_rng(1), 4000)
    line = fit_platt(40 * logits + 300, labels)
    calibrated = 1 / (1 + np.exp(-line.apply(40 * logits + 300)))
    assert expected_calibration_error(calibrated, labels) < 0.03


def test_platt_does_not_depend_on_how_many_of_each_class_there_are() -> None:
    logits, labels = _logits(np.random.default_rng(2), 20_000)
    keep = (labels == 0) | (np.arange(len(labels)) % 10 == 1)
    few, all_ = fit_platt(logits[keep], labels[keep]), fit_platt(logits, labels)
    assert few.intercept == pytest.approx(all_.intercept, abs=0.25)


def test_an_inverted_detector_is_silenced_and_not_turned_round() -> None:
    logits, labels = _logits(np.random.default_rng(3), 2000, shift=-2.0)
    assert fit_platt(logits, labels).slope == 0.0


def test_stacking_never_gives_a_negative_weight_and_drops_noise() -> None:
    rng = np.random.default_rng(4)
    good, labels = _logits(rng, 4000)
    calibrated = np.stack([good, rng.normal(0, 3, 4000), -good + rng.normal(0, 2, 4000)], axis=1)
    fusion = fit_fusion(calibrated, labels, ["a" if i % 4 < 2 else "b" for i in range(4000)])
    assert (fusion.weights >= 0).all()
    assert fusion.weights[1] < 0.1 * fusion.weights[0]
    assert fusion.weights[2] == 0.0


def test_random_folds_would_understate_the_loss_on_an_unseen_family() -> None:
    """Column 1 is perfect on family a and useless on the others."""
    rng = np.random.default_rng(5)
    good, labels = _logits(rng, 3000, shift=1.0)
    families = np.array(["a", "b", "c"])[(np.arange(3000) // 2) % 3]
    narrow = np.where((families == "a") & (labels == 1), 8.0, rng.normal(0, 0.1, 3000))
    calibrated = np.stack([good, narrow], axis=1)
    held_out = fit_fusion(calibrated, labels, families.tolist())
    random_folds = fit_fusion(
        calibrated, labels, np.array(["a", "b", "c"])[rng.integers(0, 3, 3000)].tolist()
    )
    assert held_out.held_out_loss > 1.1 * random_folds.held_out_loss


def test_one_class_or_one_family_is_refused() -> None:
    with pytest.raises(CalibrationError, match="classes is missing"):
        fit_platt(np.zeros(5), np.zeros(5, dtype=np.int64))
    with pytest.raises(CalibrationError, match="two generator families"):
        fit_fusion(np.zeros((4, 1)), np.array([0, 1, 0, 1]), ["a"] * 4)
