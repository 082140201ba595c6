"""Picture to view: the only code that turns pixels into what a detector sees. No torch here.

Training, evaluation and serving all call `render`, so that a score never depends on which of
them made the view. Raise `spec.VIEWS_VERSION` with any change of the output.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.faces import cut, face_square, network
from models.resave import saved_as_jpeg
from models.spec import ViewSpec

# One mosaic tile: below it there is no native block of pixels left to judge.
MIN_SIDE = 32
# A picture whose channels all stay within this range is one flat colour (codec rounding allowed for).
BLANK_RANGE = 2
_APART = 16  # rows and columns between the pixels that are looked at first
# The mosaic looks at no more than this many rows and columns of tiles, spread evenly over the picture:
# its cost would otherwise grow with the area. 32 x 32 tiles are a whole megapixel.
TILE_GRID = 32
# Entropies (bits) closer than this are equal: FFT rounding differs between CPUs, the order must not.
ENTROPY_DECIMALS = 6
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def too_small(rgb: NDArray[np.uint8]) -> bool:
    """Whether a side of the picture [H, W, 3] is shorter than MIN_SIDE pixels."""
    return bool(min(rgb.shape[:2]) < MIN_SIDE)


def blank(rgb: NDArray[np.uint8]) -> bool:
    """Whether the picture [H, W, 3] is one flat colour, with nothing in it to judge."""
    # A few of its pixels tell of nearly every picture that it is not; only what they leave open costs a scan.
    return _flat(rgb[::_APART, ::_APART]) and _flat(rgb)


def _flat(rgb: NDArray[np.uint8]) -> bool:
    return all(int(rgb[..., c].max()) - int(rgb[..., c].min()) <= BLANK_RANGE for c in range(rgb.shape[2]))


def render_all(rgb: NDArray[np.uint8], specs: Iterable[ViewSpec]) -> dict[str, NDArray[np.uint8]]:
    """Every view of one picture [H, W, 3], by name."""
    return render_seen(rgb, tuple(specs))[0]


def render_seen(
    rgb: NDArray[np.uint8], specs: Sequence[ViewSpec], resave: int | None = None
) -> tuple[dict[str, NDArray[np.uint8]], bool]:
    """Every view of one picture [H, W, 3], by name, and whether face views show a face and not all of it.

    With `resave`, of its copy saved as JPEG of that quality; where the face is, the picture itself says.
    """
    square = face_square(rgb) if any(spec.face for spec in specs) else None
    if resave is not None:
        rgb = saved_as_jpeg(rgb, resave)
    face = rgb if square is None else cut(rgb, square)
    views = {spec.name: _render(face if spec.face else rgb, spec) for spec in specs}
    return views, square is not None


def make_ready(specs: Iterable[ViewSpec]) -> None:
    """Load what the views need now instead of with the first picture."""
    if any(spec.face for spec in specs):
        network()


def render(rgb: NDArray[np.uint8], spec: ViewSpec) -> NDArray[np.uint8]:
    """One view, uint8 [S, S, 3], of a picture uint8 [H, W, 3]. The same bytes every time.

    A `face` view shows the face where there is one large enough (models/faces.py). Raises ValueError
    where the array is no RGB picture or is too small (see `too_small`).
    """
    return render_seen(rgb, (spec,))[0][spec.name]


def _render(rgb: NDArray[np.uint8], spec: ViewSpec) -> NDArray[np.uint8]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a uint8 picture [H, W, 3] was expected, not {rgb.dtype} {rgb.shape}")
    if too_small(rgb):
        raise ValueError(f"both sides must be at least {MIN_SIDE} pixels, not {rgb.shape[1]}x{rgb.shape[0]}")
    make = {"global": _global, "mosaic": _mosaic, "crops": _crops}[spec.kind]
    return np.ascontiguousarray(make(_at_most(rgb, spec.max_short_side), spec))


def _at_most(rgb: NDArray[np.uint8], short: int | None) -> NDArray[np.uint8]:
    """The picture with its short side shrunk to `short` pixels, bicubic with antialiasing; never enlarged."""
    if short is None or min(rgb.shape[:2]) <= short:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size_at(rgb, short), Image.Resampling.BICUBIC))


def size_at(rgb: NDArray[np.uint8], short: int) -> tuple[int, int]:
    """Width and height of the picture [H, W, 3] once its short side is `short`."""
    height, width = rgb.shape[:2]
    scale = short / min(height, width)
    return max(short, round(width * scale)), max(short, round(height * scale))


def _global(rgb: NDArray[np.uint8], spec: ViewSpec) -> NDArray[np.uint8]:
    """Short side to `resize`, with antialiasing, then the central `size` pixels: CLIP's preprocessing.

    Cropped first, then resized: a banner 100,000 pixels wide is never enlarged as a whole.
    """
    height, width = rgb.shape[:2] if spec.fit == "squash" else (min(rgb.shape[:2]),) * 2
    if spec.resize is not None:
        height, width = (max(1, round(side * spec.size / spec.resize)) for side in (height, width))
    top, left = (rgb.shape[0] - height) // 2, (rgb.shape[1] - width) // 2
    part = Image.fromarray(rgb[top : top + height, left : left + width])
    return np.asarray(part.resize((spec.size, spec.size), FILTERS[spec.resample]))


def _crops(rgb: NDArray[np.uint8], spec: ViewSpec) -> NDArray[np.uint8]:
    """A g x g grid of native crops from an even spread over the picture, g = size / tile."""
    tile, grid = spec.tile, spec.size // spec.tile
    rgb = _reflect_to(rgb, tile)
    tops, lefts = (_spread(side - tile, grid) for side in rgb.shape[:2])
    rows = [
        np.concatenate([rgb[top : top + tile, left : left + tile] for left in lefts], axis=1) for top in tops
    ]
    return np.concatenate(rows, axis=0)


def _mosaic(rgb: NDArray[np.uint8], spec: ViewSpec) -> NDArray[np.uint8]:
    """DGS-Net's mosaic: the tiles of lowest and of highest spectral entropy, at native resolution.

    As in the authors' transform (arXiv 2511.13108): of g*g tiles, g*g // 2 are the lowest and the
    rest the highest. Theirs shuffles the tiles at random, at test time too; here they stand in
    ascending order of entropy, and equal entropies in reading order, so that scores repeat.
    """
    tile, grid = spec.tile, spec.size // spec.tile
    wanted = grid * grid
    if (rgb.shape[0] // tile) * (rgb.shape[1] // tile) < wanted:
        rgb = _reflect_to(rgb, spec.size)  # never interpolated: that looks like a generator's up-sampling
    tiles = _tiles(rgb, tile)
    order = np.argsort(np.round(spectral_entropy(tiles), ENTROPY_DECIMALS), kind="stable")
    low = wanted // 2
    chosen: NDArray[np.uint8] = tiles[np.concatenate([order[:low], order[len(order) - (wanted - low) :]])]
    return chosen.reshape(grid, grid, tile, tile, 3).swapaxes(1, 2).reshape(spec.size, spec.size, 3)


def spectral_entropy(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shannon entropy in bits of the normalised power spectrum of the luma of tiles [T, t, t, 3] -> [T]."""
    luma = tiles.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    power = np.abs(np.fft.rfft2(luma)) ** 2  # [T, t, t/2 + 1]
    half = tiles.shape[2] // 2
    power[:, :, 1 : half + tiles.shape[2] % 2] *= (
        2  # a real picture: each of these stands for a mirrored pair
    )
    flat = power.reshape(len(tiles), -1)
    share = flat / np.maximum(flat.sum(axis=1, keepdims=True), 1e-12)
    # The doubled bins hold two equal shares: H = -sum w p log2 p with w p = share.
    weight = np.full(power.shape[2], 2.0)
    weight[[0, *([] if tiles.shape[2] % 2 else [half])]] = 1.0
    single = np.maximum(share / np.tile(weight, power.shape[1]), 1e-30)
    return -np.asarray((share * np.log2(single)).sum(axis=1), dtype=np.float64)


def _tiles(rgb: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Non-overlapping tiles [T, t, t, 3] in reading order; right and bottom remainders are dropped."""
    rows, columns = rgb.shape[0] // tile, rgb.shape[1] // tile
    blocks = rgb[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
    picked = blocks[_spread(rows - 1, min(rows, TILE_GRID))][:, _spread(columns - 1, min(columns, TILE_GRID))]
    return picked.reshape(-1, tile, tile, 3)


def _spread(last: int, count: int) -> list[int]:
    """`count` positions from 0 to `last`, evenly, both ends included; the middle where count is 1."""
    if count == 1:
        return [last // 2]
    return [(2 * index * last + count - 1) // (2 * (count - 1)) for index in range(count)]


def _reflect_to(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture with each side mirrored outward to at least `side` pixels."""
    missing = [max(0, side - have) for have in rgb.shape[:2]]
    if not any(missing):
        return rgb
    return np.pad(rgb, [(gap // 2, gap - gap // 2) for gap in missing] + [(0, 0)], mode="reflect")
