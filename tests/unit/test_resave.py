"""Copies saved as JPEG: as a person would save them, and next to idempotent."""

import io

import numpy as np
import skimage.data
from PIL import Image

from models.resave import MAX_SIDE, saved_as_jpeg


def test_a_copy_is_what_a_file_saved_by_pillow_shows() -> None:
    rgb = skimage.data.coffee()  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=90)
    assert np.array_equal(saved_as_jpeg(rgb, 90), np.asarray(Image.open(buffer)))


def test_a_second_saving_changes_far_less_than_the_first() -> None:
    """Why a verdict that rests on the copy, too, seldom turns when somebody saves the picture again."""
    for name in ("coffee", "chelsea", "astronaut"):
        rgb = getattr(skimage.data, name)()
        once = saved_as_jpeg(rgb)
        first = np.abs(once.astype(int) - rgb).mean()
        second = np.abs(saved_as_jpeg(once).astype(int) - once).mean()
        assert second < 0.2 * first


def test_a_picture_that_no_jpeg_can_hold_is_its_own_copy() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (1, MAX_SIDE + 1, 3), dtype=np.uint8)
    assert saved_as_jpeg(rgb) is rgb
