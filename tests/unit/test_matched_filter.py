"""The matched filter: what a generator changes, where photographs do not differ anyway."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.layouts import LayoutError, Picture
from models.matched_filter import SHRINKAGE, matched_filter
from models.metrics import auc


def real(index: int, source: str) -> Picture:
    return Picture(Path(f"real/{index}"), 0, "", "", source, str(index))


def double(of: Picture, generator: str) -> Picture:
    path = Path(f"fake/{generator}/{of.group}")
    return Picture(path, 1, generator, generator, of.source, of.group, of.path)


def test_it_is_the_closed_form_on_standardised_features_of_one_source() -> None:
    rng = np.random.default_rng(0)
    photographs = [real(index, "one") for index in range(40)]
    pictures = photographs + [double(one, "blur") for one in photographs]
    reals = rng.normal(size=(40, 2, 3)) * (1, 5, 2) + 7
    seen = np.concatenate([reals, reals + np.array([0.5, 0.5, 0.0])]).astype(np.float32)
    rows = reals.reshape(-1, 3)
    correlation = np.corrcoef(rows.T)
    expected = np.linalg.solve(correlation + 0.1 * np.eye(3), (0.5, 0.5, 0.0) / rows.std(axis=0)) / rows.std(
        axis=0
    )
    assert matched_filter(seen, pictures, 0.1) == pytest.approx(expected, rel=1e-3)


def test_photographs_of_a_new_source_are_no_more_synthetic_than_known_ones() -> None:
    """Sources differ along (1, 1); the generator changes the first feature, which they share."""
    rng = np.random.default_rng(1)
    photographs = [real(index, f"source {index % 8}") for index in range(160)]
    pictures = photographs + [double(one, "blur") for one in photographs]
    levels = np.array([index % 8 for index in range(160)])[:, None, None] * np.array([3.0, 3.0])
    reals = levels + rng.normal(size=(160, 1, 2))
    changed = reals + np.array([2.0, 0.0])
    seen = np.concatenate([reals, changed]).astype(np.float32)
    new = rng.normal(size=(200, 2)) + np.array([30.0, 30.0])

    def ranked(above: NDArray[np.float64], shrinkage: float) -> float:
        weights = matched_filter(seen, pictures, shrinkage).astype(np.float64)
        return auc(reals[:, 0] @ weights, above @ weights)

    assert ranked(new, SHRINKAGE) < 0.75 < 0.8 < ranked(changed[:, 0], SHRINKAGE)
    assert ranked(new, 1e6) > 0.95  # without what is known of photographs, the mean change alone


def test_families_weigh_the_same_whatever_their_number() -> None:
    photographs = [real(index, "one") for index in range(30)]
    pictures = [*photographs, *(double(one, "often") for one in photographs), double(photographs[0], "once")]
    reals = np.random.default_rng(2).normal(size=(30, 1, 2))
    seen = np.concatenate([reals, reals + np.array([1.0, 0.0]), reals[:1] + np.array([0.0, 1.0])]).astype(
        np.float32
    )
    weights = matched_filter(seen, pictures, shrinkage=1e6)  # the filter is the mean change then
    scale = reals[:, 0].std(axis=0)
    assert weights[0] * scale[0] ** 2 == pytest.approx(weights[1] * scale[1] ** 2, rel=1e-3)


def test_without_a_photograph_of_its_own_no_picture_teaches_anything() -> None:
    pictures = [real(0, "one"), Picture(Path("fake/a/1"), 1, "a", "a", "elsewhere", "1")]
    with pytest.raises(LayoutError, match="made from photographs"):
        matched_filter(np.zeros((2, 1, 3), np.float32), pictures)
