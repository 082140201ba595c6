"""The face gate on a photograph with a face, and on those without one."""

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from models import views
from models.faces import MIN_FACE, cut, face_square
from models.fit import fuse
from models.layouts import Picture
from models.resave import saved_as_jpeg
from models.scoring import Scored, log_odds
from models.spec import DetectorSpec, Manifest, ViewSpec
from stream.decode_pool import DecodePool
from tests.outcomes import MANIFEST
from tests.unit.picture_files import LIMITS

FACE = ViewSpec(name="face", kind="global", size=64, face=True)
WHOLE = ViewSpec(name="whole", kind="global", size=64)


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return np.asarray(getattr(skimage.data, "astronaut")())  # noqa: B009 - it has no types


def test_the_face_of_a_portrait_is_inside_the_square(astronaut: NDArray[np.uint8]) -> None:
    square = face_square(astronaut)
    assert square is not None
    eyes_and_mouth = [(205, 108), (246, 110), (226, 155)]  # x, y; by eye
    for x, y in eyes_and_mouth:
        assert square.left < x < square.left + square.side
        assert square.top < y < square.top + square.side
    assert square.side < 256
    assert cut(astronaut, square).shape == (square.side, square.side, 3)
    assert face_square(astronaut) == square


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea"])
def test_cups_rockets_and_cats_have_no_face(name: str) -> None:
    assert face_square(np.asarray(getattr(skimage.data, name)())) is None


def test_the_square_follows_the_face_and_stays_inside(astronaut: NDArray[np.uint8]) -> None:
    square = face_square(astronaut)
    assert square is not None
    cropped = astronaut[square.top + 20 :, square.left + 30 :]  # the face now touches two edges
    moved = face_square(np.ascontiguousarray(cropped))
    assert moved is not None
    assert min(moved.left, moved.top) >= 0
    assert moved.left + moved.side <= cropped.shape[1]
    wide = np.full((512, 800, 3), 128, np.uint8)
    wide[:, 288:] = astronaut
    shifted = face_square(wide)
    assert shifted is not None
    assert abs(shifted.left - 288 - square.left) < 25


def test_a_face_that_is_too_small_is_none(astronaut: NDArray[np.uint8]) -> None:
    square = face_square(astronaut)
    assert square is not None
    scale = (MIN_FACE - 8) / (square.side / 1.3)
    side = round(512 * scale)
    assert face_square(np.asarray(Image.fromarray(astronaut).resize((side, side)))) is None


def test_a_face_view_shows_the_face_or_the_whole_picture(astronaut: NDArray[np.uint8]) -> None:
    square = face_square(astronaut)
    assert square is not None
    made, seen = views.render_seen(astronaut, (FACE, WHOLE))
    assert seen
    assert np.array_equal(made["face"], views.render(cut(astronaut, square), WHOLE))
    assert np.array_equal(made["whole"], views.render(astronaut, WHOLE))
    assert np.array_equal(made["face"], views.render(astronaut, FACE))
    cup = np.asarray(getattr(skimage.data, "coffee")())  # noqa: B009
    made, seen = views.render_seen(cup, (FACE, WHOLE))
    assert not seen
    assert np.array_equal(made["face"], made["whole"])


def test_only_a_global_view_may_show_a_face() -> None:
    with pytest.raises(ValidationError, match="faces are for views of the kind global"):
        ViewSpec(name="tiles", kind="mosaic", size=64, face=True)


def test_a_line_for_faces_needs_a_view_that_shows_them() -> None:
    detector = DetectorSpec(name="masm", view="global", slope=1, intercept=0, weight=1, face_line=(2.0, 1.0))
    with pytest.raises(ValidationError, match="its view shows none"):
        Manifest.model_validate({**MANIFEST.model_dump(), "detectors": [detector.model_dump()]})


def test_a_decoding_process_says_which_frames_show_a_face_and_copies_keep_its_place(
    astronaut: NDArray[np.uint8],
) -> None:
    square = face_square(astronaut)
    assert square is not None
    stored, cup = io.BytesIO(), io.BytesIO()
    Image.fromarray(astronaut).save(stored, "PNG")
    Image.fromarray(getattr(skimage.data, "coffee")()).save(cup, "PNG")  # noqa: B009
    pool = DecodePool((FACE, WHOLE), LIMITS, 1)
    try:
        wishes = ((stored.getvalue(), None), (stored.getvalue(), 90), (cup.getvalue(), None))
        first, copy, other = (pool.submit(*wish).result(timeout=120) for wish in wishes)
    finally:
        pool.close()
    assert [made.faces.tolist() for made in (first, copy, other)] == [[True], [True], [False]]
    shown = cut(saved_as_jpeg(astronaut, 90), square)
    assert np.array_equal(first.arrays["face"][0], views.render(astronaut, FACE))
    assert np.array_equal(copy.arrays["face"][0], views.render(shown, WHOLE))


@pytest.mark.parametrize("faces", [400, 30])
def test_faces_get_a_line_of_their_own_where_there_are_enough_of_them(faces: int) -> None:
    """Of pictures with a face the logits mean less, and lie elsewhere."""
    rng, labels = np.random.default_rng(0), np.arange(4000) % 2
    seen = np.arange(4000) < faces
    strength = rng.normal(0, 1, 4000) + 2 * labels  # log-odds 2 x - 2
    logits = np.where(seen, 4 * strength + 7, strength)[:, None]
    pictures = [Picture(Path(), int(label), "", "ab"[i // 2 % 2], "", "") for i, label in enumerate(labels)]
    view = ViewSpec(name="global", kind="global", size=224, face=True)
    masm = DetectorSpec(name="masm", view="global", slope=1, intercept=0, weight=1)
    manifest = MANIFEST.model_copy(update={"views": (view,), "detectors": (masm,)})
    fitted = fuse(manifest, Scored(logits, seen), pictures).detectors[0]
    if faces == 30:  # fifteen of each class
        assert fitted.face_line is None
        return
    assert fitted.face_line is not None
    assert fitted.face_line == pytest.approx((0.5, -5.5), rel=0.25)
    assert (fitted.slope, fitted.intercept) == pytest.approx((2, -2), rel=0.1)
    odds = log_odds(manifest.model_copy(update={"detectors": (fitted,)}), Scored(logits, seen))
    assert np.abs(odds[:, 0] - (2 * strength - 2)).mean() < 0.5
