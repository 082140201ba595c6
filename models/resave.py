"""A picture saved once more as JPEG, and what its copy does to its score. No torch.

Shows whether a verdict depends on how a file was stored.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Of the copy that a policy may ask for, and of the flips that evaluation counts.
QUALITY = 90
# Beneath the threshold by as much as every reader of a score can tell, float32 ones too.
BENEATH = 1e-6
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


def with_copy(
    scores: NDArray[np.float64], copies: NDArray[np.float64], suspicious: float
) -> NDArray[np.float64]:
    """The scores [N] that count, of pictures' and their copies': the lower ones.

    But a copy that would not be flagged takes the other's score no further than just beneath the threshold:
    that settles the verdict, and scores still tell such a picture from one that never came near it.
    """
    lower, higher = np.minimum(scores, copies), np.maximum(scores, copies)
    parted = (higher >= suspicious) & (lower < suspicious)
    return np.where(parted, np.maximum(lower, suspicious - BENEATH), lower)
