"""Decode and views alone: pictures a second that one core makes, by size and format."""

import io
import statistics
import time
from collections.abc import Sequence

from PIL import Image

from models.bundle import Bundle
from stream.decode import Limits, decode
from stream.demo_pictures import Picture

SIDES = ((640, 480), (1920, 1080), (4000, 3000))
FORMATS = ("JPEG", "PNG", "WEBP")
REPEATS = 3


def decode_rate(files: Sequence[bytes], bundle: Bundle, limits: Limits) -> float:
    """Pictures a CPU second: median of some rounds."""
    rates = []
    for _ in range(REPEATS):
        began = time.process_time()
        for data in files:
            decode(data, bundle.manifest.views, limits)
        rates.append(len(files) / (time.process_time() - began))
    return statistics.median(rates)


def rates_by_kind(photograph: Picture, bundle: Bundle, limits: Limits) -> dict[str, float]:
    """One photograph in several sizes and formats: "JPEG 640x480" -> pictures a CPU second."""
    return {
        f"{kind} {width}x{height}": decode_rate([_encoded(photograph, kind, width, height)], bundle, limits)
        for kind in FORMATS
        for width, height in SIDES
    }


def _encoded(photograph: Picture, kind: str, width: int, height: int) -> bytes:
    target = io.BytesIO()
    with Image.open(io.BytesIO(photograph.data)) as opened:
        resized = opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    options = {} if kind == "PNG" else {"quality": 88}
    resized.save(target, kind, **options)
    return target.getvalue()
