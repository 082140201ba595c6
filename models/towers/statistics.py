"""`statistics`: no network, but how the noise of a picture is distributed, in numbers. Nothing is learned.

    pixels [B, 3, H, W] --10 filters x 3 planes--> responses [B, 30, H-4, W-4] --moments, windows--> [B, 232]

A camera's noise is everywhere, and differs between colours and with the brightness; what decoders and
resampling leave is smooth in places and alike in all colours. A `probe` on this tower is one linear rule on
numbers that describe this. The filters are linear ones of rich models (Fridrich and Kodovsky, IEEE TIFS 2012,
section II.A). Of each response: the shape of its distribution by quotients of moments (as Mallat, IEEE PAMI
1989, fits generalised Gaussians) and by its tails; its energy in small windows; how alike colours are in it.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.towers.base import Tower

# Brightness, red less green, blue less green, in quarters. Times the filters' whole numbers they are exact in
# half precision, too, and no response reaches float16's largest number.
PLANES = ((1, 2, 1), (4, -4, 0), (0, -4, 4))
# name -> (rows, what a response is divided by to be in grey levels)
FILTERS: dict[str, tuple[tuple[tuple[int, ...], ...], int]] = {
    "across": (((0, 0, 0), (0, -1, 1), (0, 0, 0)), 1),
    "down": (((0, 0, 0), (0, -1, 0), (0, 1, 0)), 1),
    "diagonal": (((0, 0, 0), (0, -1, 0), (0, 0, 1)), 1),
    "antidiagonal": (((0, 0, 0), (0, -1, 0), (1, 0, 0)), 1),
    "second_across": (((0, 0, 0), (1, -2, 1), (0, 0, 0)), 2),
    "second_down": (((0, 1, 0), (0, -2, 0), (0, 1, 0)), 2),
    "corner": (((1, -1, 0), (-1, 1, 0), (0, 0, 0)), 2),
    "square_3": (((-1, 2, -1), (2, -4, 2), (-1, 2, -1)), 4),
    "mean_3": (((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)), 9),
    "square_5": (
        ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1)),
        12,
    ),
}
LOCAL = ("corner", "square_3", "mean_3")  # those whose energy is looked at window by window
# Those that say how alike red, green and blue are.
COLOURS = ("across", "down", "corner", "square_3", "mean_3")
WINDOW = 9  # pixels; windows do not overlap
TAILS = (0.5, 2.0, 4.0)  # how steeply the weights of `_tails` fall off, in mean absolute responses
# Added before logarithms and quotients, in grey levels and in their squares: less than rounding to 8 bits is.
LEAST, LEAST_SQUARE, LEAST_LOCAL = 0.03, 0.001, 0.02
LEAST_SPREAD = 0.05  # of logarithms, in quotients
RESPONSES = len(PLANES) * len(FILTERS)
WATCHED = [len(FILTERS) * p + list(FILTERS).index(name) for p in range(len(PLANES)) for name in LOCAL]
DIM = RESPONSES * (2 + len(TAILS)) + len(WATCHED) * 6 + len(LOCAL) + len(COLOURS) * 5


class StatisticsTower(Tower):
    """Its stem gives the statistics; pooled features and joint embedding are the same. It has no blocks."""

    name, multiple, pooled_dim, joint_dim = "statistics", 16, DIM, DIM
    planes: Tensor  # [31, 3, 5, 5], the last one gives the brightness
    colours: Tensor  # [15, 3, 5, 5]
    unit: Tensor  # [30], what responses are divided by
    colour_unit: Tensor  # [5], the same of COLOURS

    def __init__(self) -> None:
        super().__init__(mean=(0.0,) * 3, std=(1.0,) * 3)
        self.blocks = nn.ModuleList()
        here = F.pad(torch.ones(1, 1), (2, 2, 2, 2))
        brightness = _spread(torch.tensor(PLANES[:1]) / 4, here[None])
        buffers = {
            "class_text": torch.zeros(2, DIM),
            "planes": torch.cat([_spread(torch.tensor(PLANES) / 4, _kernels(FILTERS)), brightness]),
            "colours": _spread(torch.eye(3), _kernels(COLOURS)),
            "unit": torch.tensor([float(unit) for _ in PLANES for _, unit in FILTERS.values()]),
            "colour_unit": torch.tensor([float(FILTERS[name][1]) for name in COLOURS]),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def stem(self, pixels: Tensor) -> Tensor:
        """Float pixels 0..255 [B, 3, H, W] -> statistics [B, 232]."""
        size = F.conv2d(pixels, self.planes).abs()
        square = size * size
        # Maps are pooled first and taken apart when they are small: copies of large ones cost more than sums.
        first, second = _windows(size), _windows(square)  # [B, 31, windows]
        means = first.mean(2)[:, :RESPONSES] / self.unit
        squares = second.mean(2)[:, :RESPONSES] / self.unit**2 + LEAST_SQUARE
        fourths = _windows(square * square).mean(2)[:, :RESPONSES] / self.unit**4 + LEAST_SQUARE
        colours = F.conv2d(pixels, self.colours)
        found = [
            (means**2 + LEAST_SQUARE).log() - squares.log(),
            fourths.log() - 2 * squares.log(),
            *_tails(size, first.mean(2) + LEAST * F.pad(self.unit, (0, 1), value=1.0)),
            *_levels(second[:, WATCHED] / self.unit[WATCHED, None] ** 2, first[:, RESPONSES:] / 255),
            *_alike(_windows(colours * colours).mean(2), squares, self.colour_unit),
        ]
        return torch.cat(found, dim=1)

    def pool(self, h: Tensor) -> Tensor:
        """What the stem gives."""
        return h

    def joint(self, pooled: Tensor) -> Tensor:
        """What the stem gives."""
        return pooled

    def summary(self, h: Tensor) -> Tensor:
        """What the stem gives."""
        return h

    def summary_dim(self, block: int) -> int:
        """The same of any: there are no blocks to tell apart."""
        return DIM

    def adaptable(self, block: nn.Module) -> Iterator[str]:
        """Nothing can be adapted."""
        yield from ()


def _kernels(names: Iterable[str]) -> Tensor:
    """Filters [F, 5, 5]."""
    rows = [torch.tensor(FILTERS[name][0]).float() for name in names]
    return torch.stack([F.pad(one, ((5 - len(one)) // 2,) * 4) for one in rows])


def _spread(planes: Tensor, kernels: Tensor) -> Tensor:
    """Every filter [F, 5, 5] of every plane [P, 3], plane by plane [P F, 3, 5, 5]."""
    return torch.einsum("pc,fhw->pfchw", planes, kernels).flatten(0, 1)


def _windows(maps: Tensor) -> Tensor:
    """Means of windows [B, C, windows]; what is left at the right and at the bottom is not looked at."""
    return F.avg_pool2d(maps, WINDOW).flatten(2)


def _tails(size: Tensor, scale: Tensor) -> Iterator[Tensor]:
    """Means of exp(-t size / scale), t of TAILS: how many absolute responses are small. [B, 30] each."""
    falling = torch.exp(size / scale[..., None, None] * -TAILS[0])
    yield _windows(falling).mean(2)[:, :RESPONSES]
    for before, now in pairwise(TAILS):
        for _ in range(round(math.log2(now / before))):  # a square costs less than another exponential
            falling = falling * falling
        yield _windows(falling).mean(2)[:, :RESPONSES]


def _levels(energy: Tensor, brightness: Tensor) -> Iterator[Tensor]:
    """Of the logarithm of the energy in windows: mean, spread, skew, low end, least, most [B, 9] each.

    Last [B, 3]: how it goes with the brightness, in the first plane.
    """
    energy = energy + LEAST_LOCAL  # [B, 9, windows]
    level = energy.log()
    mean = level.mean(2)
    apart = level - mean[..., None]
    spread = apart.square().mean(2).sqrt()
    yield mean
    yield spread
    yield (apart / (spread[..., None] + LEAST_SPREAD)).pow(3).mean(2)
    yield -0.5 * energy.pow(-2).mean(2).log()  # like the least, but of many windows
    yield level.amin(2)
    yield level.amax(2)
    light = brightness - brightness.mean(2, keepdim=True)  # [B, 1, windows]
    together = (light * apart[:, : len(LOCAL)]).mean(2)
    yield together / ((light.square().mean(2) + 1e-3).sqrt() * (spread[:, : len(LOCAL)] + LEAST_SPREAD))


def _alike(colours: Tensor, squares: Tensor, unit: Tensor) -> Iterator[Tensor]:
    """Of each filter in COLOURS: how red and blue correlate with green, energies over green's. [B, 5] each.

    `colours` [B, 15]: energies of red, green and blue, `unit` [5] squared times what they are in grey levels;
    `squares` [B, 30]: of PLANES. The correlations follow, as 2 E[r g] = E[r^2] + E[g^2] - E[(r - g)^2].
    """
    count, at = len(COLOURS), [list(FILTERS).index(name) for name in COLOURS]
    # Divided after they are taken apart: OpenVINO 2026.4 loses the division otherwise.
    parts = [colours[:, count * one : count * (one + 1)] / unit**2 + LEAST_SQUARE for one in range(3)]
    red, green, blue = parts
    bright, red_green, blue_green = (squares[:, [len(FILTERS) * p + one for one in at]] for p in range(3))
    for one, difference in ((red, red_green), (blue, blue_green)):
        yield (one + green - difference) / (2 * (one * green).sqrt())
    for one in (red, blue, bright):
        yield (one / green).log()
