"""Carry out a plan: real/<source>/, fake/<generator>/, index.csv. A killed run goes on where it stopped."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from models.layouts import INDEX
from models.synthesis.base import RGB, Generator
from models.synthesis.copies import Cut, draw_cut, make_copy, open_rgb, seeded
from models.synthesis.plan import Job
from models.synthesis.registry import family_of, make

COLUMNS = (
    *("path", "label", "generator", "family", "source", "group", "twin"),
    *("width", "height", "kernel", "scale", "sharpen"),
)


def synthesize(
    todo: list[Job], out: Path, *, weights: Sequence[Path], seed: int, progress: Callable[[int, str], None]
) -> int:
    """Make all that index.csv does not list yet; returns how many pictures were made.

    `weights` are folders to look for generator weights in; `progress(done, what)` is called after every
    job. Raises SynthesisError.
    """
    out.mkdir(parents=True, exist_ok=True)
    listed = _listed(out / INDEX)
    loaded: dict[str, Generator] = {}

    def load(name: str) -> Generator:
        if name not in loaded:
            loaded[name] = make(name, weights)
        return loaded[name]

    made = 0
    with (out / INDEX).open("a", newline="", encoding="utf-8") as stream:
        if not listed:
            csv.writer(stream).writerow(COLUMNS)
        for done, job in enumerate(todo, start=1):
            made += _do(job, out, stream, listed, load, seed)
            progress(done, job.source)
    return made


def _do(
    job: Job, out: Path, stream: IO[str], listed: set[str], load: Callable[[str], Generator], seed: int
) -> int:
    """One job; every picture is on disk before its line is in the index."""
    own = f"fake/{job.generator}/{job.name}.png" if job.generator else f"real/{job.source}/{job.name}.png"
    wanted = {f"fake/{name}/{job.name}.png": name for name in job.generators}
    if own in listed and wanted.keys() <= listed:
        return 0
    picture = open_rgb(job.photograph)
    cut = draw_cut(picture.size, job.short_sides, seeded(seed, "cut", job.name), whole=job.whole)
    if cut is None:
        return 0
    copy = make_copy(picture, cut)
    made = 0
    if own not in listed:
        _save(copy, out / own)
        _write(stream, _row(job, own, job.generator, "", cut))
        made += 1
    for place, name in wanted.items():
        if place not in listed:
            _save(load(name).apply(copy, seeded(seed, name, job.name)), out / place)
            _write(stream, _row(job, place, name, own, cut))
            made += 1
    return made


def _row(job: Job, place: str, generator: str, twin: str, cut: Cut) -> list[object]:
    family = family_of(generator) if generator else ""
    scale = cut.size[0] / (cut.box[2] - cut.box[0])
    what = [place, int(bool(generator)), generator, family, job.source, job.group, twin]
    return [*what, *cut.size, cut.kernel, f"{scale:.4f}", cut.sharpen]


def _write(stream: IO[str], row: list[object]) -> None:
    csv.writer(stream).writerow(row)
    stream.flush()


def _save(rgb: RGB, place: Path) -> None:
    """PNG, so that the data set itself adds no codec trace; renamed into place when complete."""
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".part")
    Image.fromarray(np.ascontiguousarray(rgb)).save(unfinished, format="PNG", compress_level=3)
    unfinished.replace(place)


def _listed(index: Path) -> set[str]:
    """Paths in the index; an unfinished last line of a killed run is cut off first."""
    if not index.is_file():
        return set()
    text = index.read_bytes()
    complete = text[: text.rfind(b"\n") + 1]
    if complete != text:
        index.write_bytes(complete)
    return {row["path"] for row in csv.DictReader(complete.decode("utf-8").splitlines())}
