"""What a file tells without a look at its contents. A test set that these tell apart tests nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from models import metrics
from models.layouts import Picture

Values = NDArray[np.float64]

SIZES = ((256, "below 256"), (512, "256 to 511"), (1024, "512 to 1023"))
QUALITIES = ((75, "below 75"), (90, "75 to 89"), (96, "90 to 95"))


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file's header and length."""

    format: str
    width: int
    height: int
    bytes: int
    jpeg_quality: int | None  # None: not a JPEG

    @property
    def short_side(self) -> int:
        return min(self.width, self.height)

    @property
    def strata(self) -> dict[str, str]:
        """The class of the file in each of the ways that tables are broken down."""
        quality = (
            "not JPEG" if self.jpeg_quality is None else _class_of(self.jpeg_quality, QUALITIES, "above 95")
        )
        return {
            "format": self.format,
            "short side": _class_of(self.short_side, SIZES, "1024 and above"),
            "JPEG quality": quality,
        }


def _class_of(value: int, classes: Sequence[tuple[int, str]], above: str) -> str:
    return next((name for limit, name in classes if value < limit), above)


def read_facts(picture: Picture) -> FileFacts:
    """Only the header is read."""
    with Image.open(picture.path) as stored:
        quality = jpeg_quality(stored) if isinstance(stored, JpegImagePlugin.JpegImageFile) else None
        return FileFacts(
            stored.format or "unknown", *stored.size, bytes=picture.path.stat().st_size, jpeg_quality=quality
        )


def jpeg_quality(stored: JpegImagePlugin.JpegImageFile) -> int:
    """The libjpeg quality, 1 to 100, whose luma table is nearest to the file's.

    Exact for files that libjpeg wrote; writers with tables of their own (Photoshop, cameras) get the nearest.
    """
    table = np.sort(np.array(stored.quantization[0], dtype=np.float64))  # the order is not needed
    return int(np.abs(_libjpeg_tables() - table).sum(axis=1).argmin()) + 1


# The luma table of ITU-T T.81 (JPEG), annex K.1, in ascending order; libjpeg scales it by quality.
_LUMA = """
    10 11 12 12 13 14 14 14 16 16 16 17 18 19 22 22 24 24 24 26 29 35 37 40 40 49 51 51 55 55 56 56
    57 58 60 61 62 64 64 68 69 72 77 78 80 81 87 87 92 92 95 98 99 100 101 103 103 103 104 109 112 113 120 121
"""


@cache
def _libjpeg_tables() -> Values:
    """[100, 64]: jpeg_set_quality of libjpeg (jcparam.c), baseline."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None]
    tables = (np.array(_LUMA.split(), dtype=np.int64) * scale + 50) // 100
    return np.asarray(np.clip(tables, 1, 255), dtype=np.float64)


def file_facts(pictures: Sequence[Picture]) -> dict[str, Values]:
    """`fact_scores` of the files of these pictures."""
    return fact_scores([read_facts(picture) for picture in pictures])


def fact_scores(facts: Sequence[FileFacts]) -> dict[str, Values]:
    """Each fact as if it were a detector's score [N]."""
    return {
        "short_side": np.array([one.short_side for one in facts], dtype=np.float64),
        "aspect": np.array([max(one.width, one.height) / one.short_side for one in facts]),
        "bytes_per_pixel": np.array([one.bytes / (one.width * one.height) for one in facts]),
    }


def facts_auc(scores: dict[str, Values], reals: NDArray[np.int64], fakes: NDArray[np.int64]) -> float:
    """AUC of the best fact alone; a fact may point either way, and who exploits it would turn it round."""
    found = (metrics.auc(values[reals], values[fakes]) for values in scores.values())
    return max(max(value, 1 - value) for value in found)
