"""The defaults agree: a picture at the pixel limit is decoded within the memory limit, in every format.

In small: fewer pixels, and memory in the same proportion to them.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image

from stream.decode import Limits
from stream.decode_pool import DecodePool, limits_of
from stream.errors import CannotEvaluate, NotApplicable
from stream.reasons import Reason
from stream.settings import Settings
from tests.unit.picture_files import VIEWS, photo, png, save

SIDE = 2600
RESAVE = 75  # the most that is asked of a picture: its copy is made beside it


def shrunk(share: float) -> Limits:
    """The default limits for pictures of SIDE x SIDE; `share` of the memory."""
    limits = limits_of(Settings(_env_file=None))  # type: ignore[call-arg]
    memory_mb = limits.memory_mb * SIDE * SIDE / limits.max_pixels * share
    return replace(limits, max_pixels=SIDE * SIDE, memory_mb=round(memory_mb))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    made = DecodePool(VIEWS, shrunk(1.0), 1)
    yield made
    made.close()


def greedy() -> dict[str, bytes]:
    """The formats and kinds that need most: alpha, a turn, a canvas beside the frame."""
    image = Image.fromarray(photo(SIDE, SIDE))
    clear, turned = image.copy(), Image.Exif()
    clear.putalpha(128)
    turned[0x0112] = 6
    return {
        "WEBP": save(clear, "WEBP", quality=10, method=0, exif=turned),
        "WEBP animated": save(
            clear, "WEBP", quality=10, method=0, save_all=True, append_images=[clear.rotate(90)]
        ),
        "AVIF": save(clear, "AVIF", quality=10, speed=10),
        "JPEG CMYK": save(image.convert("CMYK"), "JPEG", quality=30, exif=turned),
    }


def test_the_largest_picture_fits_into_the_memory_limit(pool: DecodePool) -> None:
    for kind, data in greedy().items():
        facts = pool.submit(data, RESAVE).result().facts
        assert (facts.width, facts.height) == (SIDE, SIDE), kind


@pytest.mark.parametrize("size", [(SIDE * SIDE, 1), (1, SIDE * SIDE)], ids=["flat", "tall"])
def test_the_oddest_shape_fits_too(pool: DecodePool, size: tuple[int, int]) -> None:
    width, height = size
    data = png(width, height, 8, 6, (b"\0" + b"\1\2\3\4" * width) * height)
    with pytest.raises(NotApplicable) as refused:
        pool.submit(data, RESAVE).result()
    assert refused.value.reason == Reason.TOO_SMALL


def test_with_half_of_the_memory_it_would_not_fit() -> None:
    small = DecodePool(VIEWS, shrunk(0.5), 1)
    try:
        with pytest.raises(CannotEvaluate) as refused:
            small.submit(greedy()["WEBP"], RESAVE).result()
    finally:
        small.close()
    assert refused.value.reason == Reason.DECODER_CRASHED
