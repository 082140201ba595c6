"""The face gate: where a picture has a face large enough, a face detector's view is made of that face alone.

BlazeFace, full range (models/face_detector/), run by OpenVINO on one thread in f32. It finds faces; it
does not tell whose they are. No torch here; OpenVINO is imported where a view first asks for a face.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NETWORK = Path(__file__).with_name("face_detector") / "face_detection_full_range.tflite"
SIZE = 192  # of the network's input, pixels
GRID = 48  # anchors in a row: one every 4 pixels
CONFIDENCE = 0.7
# A smaller face has lost the traces of a forgery, and judging it apart from its picture gains nothing.
MIN_FACE = 64  # pixels
MIN_SHARE = 1 / 8  # of the short side
MARGIN = 1.3  # side of the crop, in sides of the face: chin, hair and the seams of a blend are inside

Network = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class Square(NamedTuple):
    """Part of a picture, in whole pixels inside it."""

    left: int
    top: int
    side: int


def face_square(rgb: NDArray[np.uint8]) -> Square | None:
    """The square around the surest face of a picture [H, W, 3] that is large enough; None without one."""
    height, width = rgb.shape[:2]
    least = max(MIN_FACE, MIN_SHARE * min(height, width))
    if min(height, width) < least:
        return None
    boxes, sure = _detect(rgb)
    fit = (sure >= CONFIDENCE) & ((boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= least)
    if not fit.any():
        return None
    # Rounded, so that the last bits of another CPU's arithmetic choose no other of two equal boxes.
    left, top, right, bottom = boxes[np.where(fit, np.round(sure, 3), -1.0).argmax()].tolist()
    side = min(round(MARGIN * max(right - left, bottom - top)), height, width)
    x, y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return Square(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def cut(rgb: NDArray[np.uint8], square: Square) -> NDArray[np.uint8]:
    """The pixels [S, S, 3] of the square, as they are."""
    left, top, side = square
    return rgb[top : top + side, left : left + side]


def _detect(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes [A, 4] (left, top, right, bottom; pixels of the picture) and confidences [A]."""
    height, width = rgb.shape[:2]
    scale = SIZE / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (SIZE - inner[0]) // 2, (SIZE - inner[1]) // 2
    canvas = np.zeros((1, SIZE, SIZE, 3), np.float32)  # letterboxed, in -1..1
    small = Image.fromarray(rgb).resize(inner, Image.Resampling.BILINEAR)
    canvas[0, top : top + inner[1], left : left + inner[0]] = np.asarray(small, np.float32) / 127.5 - 1
    shifts, logits = network()(canvas)  # [A, 16]: centre, size, keypoints, in input pixels; [A, 1]
    centres = shifts[:, :2] + _anchors()
    boxes = np.concatenate([centres - shifts[:, 2:4] / 2, centres + shifts[:, 2:4] / 2], axis=1)
    back = np.array([width / inner[0], height / inner[1]] * 2)
    boxes = (boxes - np.array([left, top, left, top])) * back
    return boxes, 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -80, 80)))


@functools.cache
def _anchors() -> NDArray[np.float64]:
    """Centres [A, 2] of the anchors (x, y), input pixels, in reading order."""
    middles = (np.arange(GRID) + 0.5) * SIZE / GRID
    return np.stack([np.tile(middles, GRID), np.repeat(middles, GRID)], axis=1)


@functools.cache
def network() -> Network:
    """The network, read once a process. Input [1, 192, 192, 3] -> shifts [A, 16], logits [A, 1]."""
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # the same faces on every CPU, also where bf16 would serve
    }
    compiled = core.compile_model(core.read_model(NETWORK), "CPU", settings)

    def run(canvas: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        found = compiled(canvas)
        return found[0][0], found[1][0]

    return run
