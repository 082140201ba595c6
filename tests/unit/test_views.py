"""Views: the same bytes every time, native pixels in mosaic and crops, and a fixed tie-break."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from models import views
from models.spec import ViewSpec

MOSAIC = ViewSpec(name="mosaic", kind="mosaic", size=224)
CROPS = ViewSpec(name="crops", kind="crops", size=256, tile=128)
GLOBAL = ViewSpec(name="global", kind="global", size=224)
SPECS = (MOSAIC, CROPS, GLOBAL)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A gradient with noise whose strength grows to the right: tiles of many entropies."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(20, 200, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    noise = rng.normal(size=(height, width, 3)) * np.linspace(0, 12, width)[None, :, None]
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(views.MIN_SIDE, 400), st.integers(views.MIN_SIDE, 400))
def test_every_size_gives_whole_views_without_mixing_in_new_values(height: int, width: int) -> None:
    rgb = picture(height, width)
    made = views.render_all(rgb, SPECS)
    for spec in SPECS:
        assert made[spec.name].shape == (spec.size, spec.size, 3)
        assert made[spec.name].dtype == np.uint8
    known = {bytes(pixel) for pixel in rgb.reshape(-1, 3)}
    for spec in (MOSAIC, CROPS):  # nothing interpolated: every pixel of the view is one of the picture
        assert {bytes(pixel) for pixel in made[spec.name].reshape(-1, 3)} <= known


@pytest.mark.parametrize(
    ("spec", "digest"),
    [
        (MOSAIC, "4a6fdf54eb65507c"),
        (CROPS, "b570ce9ef00fde51"),
        (GLOBAL, "b5b2005b8fbadd0d"),
    ],
    ids=lambda value: value.name if isinstance(value, ViewSpec) else "",
)
def test_pixels_have_not_changed_for_this_views_version(spec: ViewSpec, digest: str) -> None:
    rows, columns = np.mgrid[0:400, 0:500]
    channels = [(rows * 7 + columns * 3) % 251, (rows * columns // 16) % 256, (rows ^ columns) % 256]
    rgb = np.stack(channels, axis=-1).astype(np.uint8)
    assert hashlib.sha256(views.render(rgb, spec).tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("kind", ["global", "mosaic", "crops"])
def test_a_large_picture_is_brought_to_the_trained_scale_and_a_small_one_left_alone(kind: str) -> None:
    spec = ViewSpec.model_validate(
        {"name": "v", "kind": kind, "size": 128, "tile": 32, "max_short_side": 200}
    )
    native = spec.model_copy(update={"max_short_side": None})
    small, large = picture(200, 260), picture(600, 780)
    assert np.array_equal(views.render(small, spec), views.render(small, native))
    shrunk = np.asarray(Image.fromarray(large).resize((260, 200), Image.Resampling.BICUBIC))
    assert np.array_equal(views.render(large, spec), views.render(shrunk, native))


def test_spectral_entropy_is_that_of_the_full_spectrum() -> None:
    tiles = np.random.default_rng(3).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    power = np.abs(np.fft.fft2(tiles @ np.array([0.299, 0.587, 0.114]))) ** 2
    share = power.reshape(6, -1) / power.reshape(6, -1).sum(axis=1, keepdims=True)
    assert np.allclose(views.spectral_entropy(tiles), -(share * np.log2(share)).sum(axis=1), atol=1e-9)


def test_mosaic_holds_the_lowest_then_the_highest_entropies_in_ascending_order() -> None:
    rgb = picture(480, 640)
    mosaic = views.render(rgb, MOSAIC).reshape(7, 32, 7, 32, 3).swapaxes(1, 2).reshape(49, 32, 32, 3)
    every = rgb.reshape(15, 32, 20, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    expected = np.sort(views.spectral_entropy(every))
    expected = np.concatenate([expected[:24], expected[-25:]])
    assert np.allclose(views.spectral_entropy(mosaic), expected, atol=1e-6)


def test_equal_entropies_keep_reading_order() -> None:
    rgb = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 32, 0), 32, 1).repeat(3, 2)
    mosaic = views.render(rgb, MOSAIC)[::32, ::32, 0].ravel()  # flat tiles: all entropies are 0
    assert mosaic.tolist() == [*range(24), *range(64 - 25, 64)]


def test_crops_cover_a_picture_of_their_own_size_exactly() -> None:
    rgb = picture(256, 256)
    assert (views.render(rgb, CROPS) == rgb).all()


def test_mosaic_of_a_large_picture_looks_at_a_bounded_number_of_tiles() -> None:
    assert len(views._tiles(np.zeros((2000, 3000, 3), np.uint8), 32)) == views.TILE_GRID**2


def test_global_of_an_extreme_banner_stays_small() -> None:
    assert views.render(np.zeros((32, 60_000, 3), np.uint8), GLOBAL).shape == (224, 224, 3)


def test_a_flat_picture_is_blank_and_a_faint_gradient_is_not() -> None:
    flat = np.full((64, 64, 3), 200, np.uint8)
    flat[::2] += 2
    assert views.blank(flat)
    flat[0, 0, 1] = 190
    assert not views.blank(flat)


@pytest.mark.parametrize("rgb", [np.zeros((31, 400, 3), np.uint8), np.zeros((64, 64), np.uint8)])
def test_a_picture_that_cannot_be_viewed_is_refused(rgb: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"pixels|expected"):
        views.render(rgb, MOSAIC)


def test_a_size_that_tiles_do_not_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="no multiple"):
        ViewSpec(name="mosaic", kind="mosaic", size=200)


def test_a_resize_larger_than_the_view_is_resize_then_centre_crop() -> None:
    """As `Resize(440), CenterCrop(384)` of other people's detectors does it, up to the rounding of edges."""
    spec = ViewSpec(name="foreign", kind="global", size=384, resize=440, resample="bilinear")
    rgb = picture(600, 900)
    whole = Image.fromarray(rgb).resize((660, 440), Image.Resampling.BILINEAR).crop((138, 28, 522, 412))
    difference = np.abs(views.render(rgb, spec).astype(int) - np.asarray(whole).astype(int))
    assert difference.mean() < 1.5


def test_squash_keeps_the_whole_picture_whatever_its_shape() -> None:
    rgb = picture(400, 600)
    spec = ViewSpec(name="foreign", kind="global", size=224, resample="bilinear", fit="squash")
    whole = Image.fromarray(rgb).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(views.render(rgb, spec), np.asarray(whole))


@pytest.mark.parametrize("wrong", [{"kind": "mosaic", "resize": 440}, {"kind": "global", "resize": 128}])
def test_a_resize_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="resize"):
        ViewSpec.model_validate({"name": "view", "size": 224, **wrong})
