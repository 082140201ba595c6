"""A picture saved once more as JPEG, to see whether a verdict depends on how a file was stored. No torch."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Of the copy that a policy may ask for, and of the flips that evaluation counts.
QUALITY = 90
# The JPEG format cannot hold a longer side (libjpeg's JPEG_MAX_DIMENSION).
MAX_SIDE = 65_500


def saved_as_jpeg(rgb: NDArray[np.uint8], quality: int = QUALITY) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] after a JPEG file as libjpeg writes it by default, chroma at half resolution.

    The same bytes every time. Doing it twice changes next to nothing more than doing it once. A picture
    that no JPEG file can hold comes back as it is.
    """
    if max(rgb.shape[:2]) > MAX_SIDE:
        return rgb
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=2)
    with Image.open(buffer) as stored:
        return np.asarray(stored.convert("RGB"), dtype=np.uint8)
