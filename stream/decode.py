"""Decode step: the bytes of one picture to the views of its sampled frames. Pure; made for one process.

The picture is always decoded whole and once: a scaled decode changes the traces that the
detectors look for.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from models.spec import ViewSpec
from models.views import MIN_SIDE, blank, render_seen, too_small
from stream.decode_formats import ends_early, frame_count, open_as, sniff
from stream.decode_rgb import upright_rgb
from stream.errors import CannotEvaluate, NotApplicable
from stream.reasons import Reason
from stream.types import PictureFacts, Views

# An animation is decoded frame by frame up to the last one sampled: all of it together may not have
# more pixels than this many pictures of the largest size.
ANIMATION_FACTOR = 20

# Everything that Pillow's readers were seen or may be expected to raise on a hostile file.
_PILLOW_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost."""

    max_bytes: int
    max_pixels: int  # width x height of one frame
    max_frames: int
    sample_frames: int  # frames of an animation that become views
    timeout_s: float
    memory_mb: int  # MiB that one decoding may take


def decode(data: bytes, views: Sequence[ViewSpec], limits: Limits, resave: int | None = None) -> Views:
    """Every view of up to `sample_frames` frames, spread evenly over the picture's frames.

    With `resave`, of a copy of each frame saved once more as JPEG of that quality (models/resave.py).
    Frames that are blank or too small are left out. Raises NotApplicable where no frame is left,
    and CannotEvaluate where the file cannot be decoded or goes beyond a limit.
    """
    if not data:
        raise CannotEvaluate(Reason.EMPTY_FILE, "0 bytes")
    if len(data) > limits.max_bytes:
        raise CannotEvaluate(Reason.TOO_MANY_BYTES, f"{len(data)} bytes, at most {limits.max_bytes}")
    name = sniff(data)
    if name is None:
        raise CannotEvaluate(Reason.UNSUPPORTED_FORMAT, f"it starts with {data[:8]!r}")
    with _faults_as_reasons(name, data, limits):
        image = open_as(name, data)
        _check_size(image, limits)
        count = frame_count(image, data, limits.max_frames)
        _check_frames(image, count, limits)
    if count == 1 and min(image.size) < MIN_SIDE:  # not worth decoding: a line of pixels costs most a pixel
        raise _too_small(image.width, image.height)
    return _views(image, _File(name, data, count), views, limits, resave)


@dataclass(frozen=True, slots=True)
class _File:
    name: str  # of its format
    data: bytes
    frames: int


def _views(
    image: ImageFile, file: _File, views: Sequence[ViewSpec], limits: Limits, resave: int | None
) -> Views:
    facts: PictureFacts | None = None
    rendered: list[tuple[dict[str, NDArray[np.uint8]], bool]] = []
    unfit: NotApplicable | None = None
    for index in spread(file.frames, limits.sample_frames):
        with _faults_as_reasons(file.name, file.data, limits):
            if file.frames > 1:
                image.seek(index)
            _check_size(image, limits)
            rgb = upright_rgb(image)
        facts = facts or PictureFacts(file.name, rgb.shape[1], rgb.shape[0], file.frames)
        reason = _unfit(rgb)
        if reason is None:
            rendered.append(render_seen(rgb, views, resave))
        unfit = unfit or reason
    if not rendered or facts is None:
        raise unfit or NotApplicable(Reason.BLANK)
    arrays = {view.name: np.stack([frame[view.name] for frame, _ in rendered]) for view in views}
    return Views(facts, arrays, np.array([face for _, face in rendered]))


def spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` of `count` frames, evenly, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [0]
    return [(2 * step * (count - 1) + wanted - 1) // (2 * (wanted - 1)) for step in range(wanted)]


def _unfit(rgb: NDArray[np.uint8]) -> NotApplicable | None:
    if too_small(rgb):
        return _too_small(rgb.shape[1], rgb.shape[0])
    return NotApplicable(Reason.BLANK, "one flat colour") if blank(rgb) else None


def _too_small(width: int, height: int) -> NotApplicable:
    return NotApplicable(Reason.TOO_SMALL, f"{width}x{height}, both sides must be at least {MIN_SIDE}")


def _check_size(image: ImageFile, limits: Limits) -> None:
    if image.width * image.height > limits.max_pixels:
        size = f"{image.width}x{image.height}"
        raise CannotEvaluate(Reason.TOO_MANY_PIXELS, f"{size}, at most {limits.max_pixels} pixels")
    if image.width < 1 or image.height < 1:
        raise CannotEvaluate(Reason.CORRUPT, f"its size is {image.width}x{image.height}")


def _check_frames(image: ImageFile, count: int, limits: Limits) -> None:
    if count > limits.max_frames:
        raise CannotEvaluate(Reason.TOO_MANY_FRAMES, f"more than {limits.max_frames} frames")
    if count * image.width * image.height > ANIMATION_FACTOR * limits.max_pixels:
        size = f"{count} frames of {image.width}x{image.height}"
        raise CannotEvaluate(
            Reason.TOO_MANY_PIXELS, f"{size}, at most {ANIMATION_FACTOR * limits.max_pixels}"
        )


@contextmanager
def _faults_as_reasons(name: str, data: bytes, limits: Limits) -> Iterator[None]:
    """Pillow's errors as reason codes, its own size check at our limit, its warnings to nobody."""
    # Pillow refuses at twice this value, also where a frame enlarges the canvas while it is read.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max(1, limits.max_pixels // 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise CannotEvaluate(Reason.TOO_MANY_PIXELS, f"at most {limits.max_pixels} pixels") from error
    except _PILLOW_FAULTS as error:
        cut = "truncat" in str(error).lower() or ends_early(name, data)
        detail = f"{name}: {type(error).__name__}: {error}"[:500]
        raise CannotEvaluate(Reason.TRUNCATED if cut else Reason.CORRUPT, detail) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before  # other code of this process keeps its own limit
