"""The chain treats both classes alike, repeats, and really does what its names say."""

from collections.abc import Callable

import numpy as np
import pytest

from models import augment
from models.augment import NONE, Strength, draw_chain
from models.synthesis.base import RGB


def _picture(height: int = 300, width: int = 420, seed: int = 0) -> RGB:
    rng = np.random.default_rng(seed)
    smooth = augment.to_short_side(rng.integers(0, 256, (12, 17, 3), dtype=np.uint8), 300)
    noisy = smooth[:height, :width].astype(int) + rng.integers(-20, 21, smooth[:height, :width].shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def test_a_pair_goes_through_one_draw() -> None:
    """Equal pictures stay equal under one chain, whatever was drawn."""
    for seed in range(12):
        chain = draw_chain(np.random.default_rng(seed), Strength(untouched=0.0), (200, 320))
        first = chain.apply(_picture(), 192)
        assert first.shape == (192, 192, 3)
        assert np.array_equal(first, chain.apply(_picture(), 192))


def test_one_seed_is_one_chain_and_seeds_differ() -> None:
    chains = [draw_chain(np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
    outputs = [chain.apply(_picture(), 200) for chain in chains]
    assert np.array_equal(outputs[0], outputs[1])
    assert any(not np.array_equal(outputs[0], other) for other in outputs[2:])


def test_the_size_after_the_chain_does_not_depend_on_the_size_before() -> None:
    chain = draw_chain(np.random.default_rng(5), Strength(untouched=0.0))
    sizes = {chain.apply(_picture(side, side), 256).shape for side in (128, 200, 290)}
    assert sizes == {(256, 256, 3)}
    assert {min(chain.apply(_picture(side, side)).shape[:2]) for side in (128, 200, 290)} == {256}


def test_a_flip_moves_both_members_alike() -> None:
    flipped = [draw_chain(np.random.default_rng(seed), Strength(untouched=1.0)) for seed in range(40)]
    picture = _picture(256, 256)
    mirrored = [np.array_equal(chain.apply(picture), picture[:, ::-1]) for chain in flipped if chain.flip]
    assert mirrored
    assert all(mirrored)


def test_untouched_means_untouched() -> None:
    picture = _picture(256, 300)
    assert np.array_equal(draw_chain(np.random.default_rng(0), NONE).apply(picture), picture)


def test_milder_codecs_change_less() -> None:
    picture = _picture(256, 256)

    def damage(strength: Strength) -> float:
        rng = np.random.default_rng(0)
        chains = [draw_chain(rng, strength) for _ in range(60)]
        kept = [chain.apply(picture)[:, ::-1] if chain.flip else chain.apply(picture) for chain in chains]
        return float(np.mean([np.abs(one.astype(int) - picture).mean() for one in kept]))

    assert damage(Strength().milder()) < 0.8 * damage(Strength())


@pytest.mark.parametrize("codec", [augment.jpeg, augment.webp])
def test_lower_quality_loses_more(codec: Callable[..., RGB]) -> None:
    picture = _picture()
    errors = [np.abs(codec(picture, quality=q).astype(int) - picture).mean() for q in (95, 75, 50)]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_every_change_keeps_the_kind_of_array() -> None:
    picture = _picture(97, 131)
    for changed in (
        augment.jpeg(picture, 50), augment.webp(picture, 80), augment.rescaled(picture, 0.5),
        augment.blurred(picture, 1.0), augment.screenshot(picture),
    ):  # fmt: skip
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
    assert augment.centre_crop(picture, 0.8).shape == (78, 105, 3)


def test_a_small_picture_is_mirrored_and_not_enlarged_for_a_crop() -> None:
    picture = _picture(100, 100)
    chain = draw_chain(np.random.default_rng(0), NONE, (100, 100))
    grown = chain.apply(picture, 150)
    assert np.array_equal(grown[:100, :100], picture)
    assert np.array_equal(grown[100:], grown[50:100][::-1])
