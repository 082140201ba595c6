"""From labelled pictures to training batches: leak-free splits, pairs that share their chances. No torch.

pictures = scan(Path("set"))                       # models.layouts
split = split_pictures(pictures, holdout=PROXY)    # by photograph, prompt, family, source
for batch in PairedBatches(split.train, pairs=16, seed=0): ...
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.augment import Strength, draw_chain, to_short_side
from models.layouts import LayoutError, Picture
from models.synthesis.base import RGB
from models.synthesis.copies import open_rgb


@dataclass(frozen=True, slots=True)
class Holdout:
    """What no part of training, tuning or calibration may see."""

    families: frozenset[str] = frozenset()
    generators: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def covers(self, picture: Picture) -> bool:
        """Whether the picture is held out. A held-out source takes the fakes made of it along."""
        by_fake = picture.family in self.families or picture.generator in self.generators
        return by_fake or picture.source in self.sources


NOTHING = Holdout()
# The project's own stand-in for "unseen": one generator family and one real source left out of everything.
PROXY = Holdout(families=frozenset({"text_to_image"}), sources=frozenset({"pexels_interiors"}))


@dataclass(frozen=True, slots=True)
class Split:
    """Disjoint by group. `unseen` is what the holdout covers, together with test reals to hold against it."""

    train: list[Picture]
    validation: list[Picture]
    test: list[Picture]
    unseen: list[Picture]


def split_pictures(
    pictures: Sequence[Picture],
    *,
    holdout: Holdout = NOTHING,
    seed: int = 0,
    shares: tuple[float, float] = (0.7, 0.15),
) -> Split:
    """Train / validation / test by a hash of the group: stable when pictures are added.

    A photograph's re-syntheses go where the photograph goes, a prompt's pictures stay together.
    """
    split = Split([], [], [], [])
    for picture in pictures:
        if holdout.covers(picture):
            split.unseen.append(picture)
            continue
        position = _position(picture.group, seed)
        part = (
            split.train
            if position < shares[0]
            else split.validation
            if position < sum(shares)
            else split.test
        )
        part.append(picture)
    split.unseen.extend(picture for picture in split.test if picture.label == 0)
    return split


def _position(group: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def count(pictures: Iterable[Picture]) -> dict[str, int]:
    """How many of each real source ("real:<source>") and generator."""
    totals: dict[str, int] = defaultdict(int)
    for picture in pictures:
        totals[picture.generator if picture.label else f"real:{picture.source}"] += 1
    return dict(sorted(totals.items()))


@dataclass(frozen=True, slots=True)
class Batch:
    """2P pictures: index 2i is real, 2i + 1 is synthetic, and both went through one draw of the chain."""

    images: list[RGB]  # uint8 [H, W, 3]; all [crop, crop, 3] where a crop was asked for
    labels: NDArray[np.int64]  # [2P], 0 real, 1 synthetic
    pictures: list[Picture]  # [2P]

    @property
    def sources(self) -> list[str]:
        return [picture.source for picture in self.pictures]

    @property
    def families(self) -> list[str]:
        """Family of each pair's synthetic member, for both members: what a held-out fold goes by."""
        return [self.pictures[index | 1].family for index in range(len(self.pictures))]


@dataclass(slots=True)
class PairedBatches:
    """An endless, seeded stream of paired batches.

    Families are drawn evenly (a family with many pictures would drown the others), then a synthetic
    picture within the family; its real partner is the photograph that it was made from or, for a
    ready-made picture, a real one of a similar source (`partners`), both equally often over an epoch.
    Decoded pictures are kept in memory up to `cache_bytes`.
    """

    pictures: Sequence[Picture]
    pairs: int
    seed: int = 0
    strength: Strength = field(default_factory=Strength)
    short_sides: tuple[int, int] | None = (256, 256)  # None: native pixels
    crop: int | None = None
    family_weights: dict[str, float] = field(default_factory=dict)  # default 1 each
    partners: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(PARTNERS))
    cache_bytes: int = 2 << 30
    _cache: dict[object, RGB] = field(default_factory=dict, repr=False)
    _cached: int = 0

    def __iter__(self) -> Iterator[Batch]:
        """Raises LayoutError where a class is missing."""
        by_family, reals = _by_family(self.pictures), _reals(self.pictures)
        if not by_family or not reals:
            raise LayoutError("training needs real and synthetic pictures; one of the classes is missing")
        rng = np.random.default_rng(self.seed)
        while True:
            pairs = [self._draw_pair(by_family, reals, rng) for _ in range(self.pairs)]
            yield self._load(pairs, rng)

    def _draw_pair(
        self,
        by_family: dict[str, list[Picture]],
        reals: dict[object, list[Picture]],
        rng: np.random.Generator,
    ) -> tuple[Picture, Picture]:
        names = list(by_family)
        weights = np.array([self.family_weights.get(name, 1.0) for name in names])
        family = by_family[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
        fake = family[int(rng.integers(len(family)))]
        candidates = reals.get(fake.twin) if fake.twin else None
        if candidates is None:
            candidates = self._like(fake, reals)
        return candidates[int(rng.integers(len(candidates)))], fake

    def _like(self, fake: Picture, reals: dict[object, list[Picture]]) -> list[Picture]:
        """Reals of the sources that look most like a ready-made fake's; all reals where none is named."""
        sources = [name for name in self.partners.get(fake.generator, ()) if name in reals]
        found = [picture for name in sources for picture in reals[name]]
        return found or reals["all"]

    def _load(self, pairs: list[tuple[Picture, Picture]], rng: np.random.Generator) -> Batch:
        images: list[RGB] = []
        for pair in pairs:
            chain = draw_chain(rng, self.strength, self.short_sides)
            images += [chain.apply(self._open(picture), self.crop) for picture in pair]
        members = [picture for pair in pairs for picture in pair]
        return Batch(images, np.array([picture.label for picture in members], dtype=np.int64), members)

    def _open(self, picture: Picture) -> RGB:
        cached = self._cache.get(picture.path)
        if cached is not None:
            return cached
        rgb = load(picture)
        if self._cached + rgb.nbytes <= self.cache_bytes:
            self._cache[picture.path] = rgb
            self._cached += rgb.nbytes
        return rgb


# Which real sources stand beside ready-made synthetic pictures: like subjects, like sizes.
PARTNERS: dict[str, tuple[str, ...]] = {
    "sd3_portraits": ("caltech101_faces", "material_kit", "soft_ui"),
    "sd1": (
        *("clothing", "soft_ui", "startbootstrap", "pexels_interiors", "material_kit"),
        *("mate_backgrounds", "plasma_wallpapers", "lomiri_wallpapers", "caltech101"),
    ),
}


def load(picture: Picture) -> RGB:
    """The picture's pixels [H, W, 3], upright, transparency on white."""
    return np.asarray(open_rgb(picture.path), dtype=np.uint8)


def load_at(picture: Picture, short_side: int = 256) -> RGB:
    """The picture as it is judged in evaluation: brought to one short side (bicubic), nothing else."""
    return to_short_side(load(picture), short_side)


def _by_family(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    found: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.label:
            found[picture.family].append(picture)
    return dict(sorted(found.items()))


def _reals(pictures: Iterable[Picture]) -> dict[object, list[Picture]]:
    """Reals by path (for twins), by source (for partners), and "all"."""
    found: dict[object, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.label == 0:
            for key in (picture.path, picture.source, "all"):
                found[key].append(picture)
    return dict(found)
