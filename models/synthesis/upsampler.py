"""Small up-sampling decoders fitted to each picture: the trace that every convolutional decoder shares.

A generator's decoder paints at low resolution and enlarges by a fixed factor with learned filters;
each position within the factor gets its own filter, and neighbouring pixels become too alike in a
periodic way (Tan et al., NPR, CVPR 2024, section 3). Here the decoder is one layer, fitted by ridge
regression to give the photograph back from its shrunk copy. It is no generator that anybody uses:
it widens the training side cheaply and must not be counted as an unseen generator.
"""

import numpy as np
from numpy.typing import NDArray

from models.synthesis.base import RGB, draw_kernel, pad_to, resize, to_float, to_uint8

SAMPLES = 6000  # low-resolution positions that the filters are fitted on
REACH = 2  # filters see (2 * REACH + 1)^2 low-resolution neighbours


class SubPixel:
    """Shrink by 2 (or 4), fit one filter a sub-pixel position and channel, enlarge with them."""

    name = "subpixel"
    family = "upsampler"

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        factor = 4 if rng.random() < 0.25 else 2
        height, width = rgb.shape[:2]
        target = pad_to(rgb, factor)
        rows, columns = target.shape[0] // factor, target.shape[1] // factor
        small = to_float(resize(target, columns, rows, draw_kernel(rng)))
        phases = _to_phases(to_float(target), factor)
        inputs = _neighbourhoods(small)
        chosen = rng.choice(len(inputs), size=min(SAMPLES, len(inputs)), replace=False)
        filters = _ridge(inputs[chosen], phases[chosen])
        return to_uint8(_from_phases(inputs @ filters, rows, columns, factor))[:height, :width]


class NearestConv:
    """Shrink by 2, repeat each pixel, smooth with a random 3x3 filter, as up-sample + convolve does."""

    name = "nearest_conv"
    family = "upsampler"

    def apply(self, rgb: RGB, rng: np.random.Generator) -> RGB:
        height, width = rgb.shape[:2]
        target = pad_to(rgb, 2)
        small = resize(target, target.shape[1] // 2, target.shape[0] // 2, draw_kernel(rng))
        values = to_float(small.repeat(2, axis=0).repeat(2, axis=1))
        smooth = _filter3(values, _smoothing_kernel(rng))
        detail = float(rng.uniform(0.0, 0.5)) * (smooth - _filter3(smooth, np.full((3, 3), 1 / 9)))
        return to_uint8(smooth + detail)[:height, :width]


def _to_phases(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """[fh, fw, 3] -> [h * w, factor^2 * 3]: what belongs to each low-resolution position."""
    rows, columns = values.shape[0] // factor, values.shape[1] // factor
    blocks = values.reshape(rows, factor, columns, factor, 3).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows * columns, factor * factor * 3)


def _from_phases(phases: NDArray[np.float32], rows: int, columns: int, factor: int) -> NDArray[np.float32]:
    blocks = phases.reshape(rows, columns, factor, factor, 3).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows * factor, columns * factor, 3)


def _neighbourhoods(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """[h, w, 3] -> [h * w, (2 REACH + 1)^2 * 3 + 1], the last column a constant."""
    side = 2 * REACH + 1
    padded = np.pad(small, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    flat = windows.reshape(small.shape[0] * small.shape[1], -1)
    return np.concatenate([flat, np.ones((len(flat), 1), np.float32)], axis=1)


def _ridge(inputs: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float32]:
    strength = 1e-3 * len(inputs)
    normal = inputs.T @ inputs + strength * np.eye(inputs.shape[1], dtype=np.float32)
    return np.linalg.solve(normal, inputs.T @ targets).astype(np.float32)


def _smoothing_kernel(rng: np.random.Generator) -> NDArray[np.float64]:
    kernel = np.outer([1, 2, 1], [1, 2, 1]) * rng.uniform(0.5, 1.5, (3, 3))
    normalised: NDArray[np.float64] = kernel / kernel.sum()
    return normalised


def _filter3(values: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    height, width = values.shape[:2]
    out = np.zeros_like(values)
    for dy in range(3):
        for dx in range(3):
            out += np.float32(kernel[dy, dx]) * padded[dy : dy + height, dx : dx + width]
    return out
