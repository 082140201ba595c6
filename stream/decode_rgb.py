"""One decoded frame to RGB: every colour model that the formats can hold, alpha on white, upright.

Colour profiles are not applied: the detectors were trained on the stored values.
"""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from stream.errors import CannotEvaluate
from stream.reasons import Reason

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# 32-bit integers, floats and Lab have no fixed black and white to map to 0 and 255.
_WITHOUT_SCALE = frozenset({"I", "F", "LAB"})
_SIXTEEN = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})


def upright_rgb(frame: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] of a frame as a browser on a white page shows them.

    Raises CannotEvaluate where the colour model cannot be mapped to RGB, and what Pillow raises
    where the frame cannot be decoded.
    """
    frame.load()
    turn = _UPRIGHT.get(_orientation(frame))
    rgb = _rgb(frame)
    return np.asarray(rgb if turn is None else rgb.transpose(turn))


def _orientation(frame: ImageFile.ImageFile) -> int:
    """EXIF orientation 1 to 8; unreadable EXIF counts as none, as in every viewer."""
    try:
        value = frame.getexif().get(ExifTags.Base.Orientation, 1)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
    ):
        return 1
    return value if isinstance(value, int) else 1


def _rgb(frame: Image.Image) -> Image.Image:
    if frame.mode in _WITHOUT_SCALE:
        raise CannotEvaluate(Reason.UNSUPPORTED_FORMAT, f"pixels of type {frame.mode} have no fixed range")
    if frame.mode in _SIXTEEN:
        return _from_sixteen(frame)
    if not frame.has_transparency_data:
        return frame if frame.mode == "RGB" else frame.convert("RGB")
    rgba = frame if frame.mode == "RGBA" else frame.convert("RGBA")
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _from_sixteen(frame: Image.Image) -> Image.Image:
    """16-bit grey: the high byte, as Pillow takes it of 16-bit colour; a transparent grey is white."""
    values = np.asarray(frame).astype(np.uint16)
    grey = (values >> 8).astype(np.uint8)
    transparent = frame.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
