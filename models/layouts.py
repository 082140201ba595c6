"""Folders of pictures on disk -> a flat list of labelled pictures. No torch here.

A public benchmark is a folder layout: who is real, who is synthetic, and by which generator, is said
by folder names. Each scanner below knows one layout; `scan` finds out which one a folder has.
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError
from models.synthesis.registry import family_of

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
INDEX = "index.csv"


class LayoutError(ModelError):
    """The folder holds no pictures in a layout that we know; the message names the layouts."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture.

    Pictures of one `group` come from the same photograph or prompt and never part in a split.
    `twin` is the real picture that an aligned re-synthesis was made from.
    """

    path: Path
    label: int  # 0 real, 1 synthetic
    generator: str  # "" for a real one
    family: str  # of the generator; "" for a real one
    source: str  # the data set that the photograph, or the ready-made picture, comes from
    group: str
    twin: Path | None = None


def scan(root: Path) -> list[Picture]:
    """Every picture below `root`, sorted by path. Raises LayoutError where nothing is recognised."""
    if not root.is_dir():
        raise LayoutError(f"{root} is not a folder")
    for _, matches, read in LAYOUTS:
        if matches(root):
            found = sorted(read(root), key=lambda picture: picture.path)
            if {picture.label for picture in found} == {0, 1}:
                return found
    names = "; ".join(description for description, _, _ in LAYOUTS)
    raise LayoutError(f"{root} has no real and synthetic pictures in a layout that we know: {names}")


def pictures_below(folder: Path) -> list[Path]:
    """Picture files below a folder, sorted; hidden ones are left out."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _real(path: Path, source: str, group: str | None = None) -> Picture:
    return Picture(path, 0, "", "", source, group or f"{source}/{path.stem}")


def _fake(path: Path, generator: str, group: str | None = None, source: str | None = None) -> Picture:
    origin = source or generator
    return Picture(path, 1, generator, family_of(generator), origin, group or f"{origin}/{path.stem}")


def _indexed(root: Path) -> Iterator[Picture]:
    """index.csv as `python -m models.synthesis make` writes it: nothing has to be guessed."""
    with (root / INDEX).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            twin = root / row["twin"] if row["twin"] else None
            place = root / row["path"]
            named = row["generator"], row["family"], row["source"], row["group"]
            yield Picture(place, int(row["label"]), *named, twin)


def _plain(root: Path) -> Iterator[Picture]:
    """real/[<source>/...] and fake/<generator>/...; equal stems below both are one group."""
    for path in pictures_below(root / "real"):
        parts = path.relative_to(root / "real").parts
        yield _real(path, parts[0] if len(parts) > 1 else "real", path.stem)
    for path in pictures_below(root / "fake"):
        parts = path.relative_to(root / "fake").parts
        yield _fake(path, parts[0] if len(parts) > 1 else "fake", path.stem)


def _genimage(root: Path) -> Iterator[Picture]:
    """GenImage: <generator>/[imagenet_...]/{train,val}/{nature,ai}/."""
    for path in pictures_below(root):
        parts = path.relative_to(root).parts
        if "nature" in parts[:-1]:
            yield _real(path, "imagenet")
        elif "ai" in parts[:-1]:
            yield _fake(path, parts[0])


SPLITS = frozenset({"train", "val", "test"})
# ForenSynths' training set, and AIGIBench's after it, name LSUN's categories where others name the generator:
# all of them hold ProGAN's pictures (Wang et al., CVPR 2020).
LSUN = frozenset(
    (
        *(
            "airplane",
            "bicycle",
            "bird",
            "boat",
            "bottle",
            "bus",
            "car",
            "cat",
            "chair",
            "cow",
            "diningtable",
        ),
        *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
    )
)


def _forensynths(root: Path) -> Iterator[Picture]:
    """ForenSynths, AIGCDetectBenchmark, AIGIBench: [<split>/]<generator>/[<class>/]{0_real,1_fake}/."""
    for path in pictures_below(root):
        parts = path.relative_to(root).parts
        kinds = [index for index, part in enumerate(parts[:-1]) if part in ("0_real", "1_fake")]
        if not kinds:
            continue
        above = list(parts[: kinds[0]])
        if len(above) > 1 and above[0] in SPLITS:  # a split; alone, "train" is a category
            del above[0]
        if above and above[0] in LSUN:
            above.insert(0, "progan")
        generator = above[0] if above else root.name
        if parts[kinds[0]] == "0_real":
            yield _real(path, f"{generator}_real", "/".join([generator, *above[1:], "real", path.stem]))
        else:
            yield _fake(path, generator, "/".join([generator, *above[1:], "fake", path.stem]))


_FRAME_ROOTS = re.compile(r"(original|real|youtube)", re.IGNORECASE)


def _deepfakebench(root: Path) -> Iterator[Picture]:
    """DeepfakeBench: <data set>/.../<method>/[c23/]frames/<video>/<frame>.png; a video is a group.

    FaceForensics++ keeps its reals below original_sequences; Celeb-DF names them ...-real.
    A forged video "A_B" belongs to the group of its target A, so that its real twin stays with it.
    """
    for path in pictures_below(root):
        parts = path.relative_to(root).parts
        if "frames" not in parts[:-1]:
            continue
        at = parts.index("frames")
        methods = [part for part in parts[:at] if not re.fullmatch(r"(c23|c40|raw)", part)]
        video = parts[at + 1].split("_")[0] if len(parts) > at + 2 else path.stem
        group = f"{methods[0] if methods else root.name}/{video}"
        if any(_FRAME_ROOTS.search(part) for part in methods):
            yield _real(path, methods[-1], group)
        else:
            yield _fake(path, methods[-1] if methods else root.name, group)


def _has_folder(*names: str) -> Callable[[Path], bool]:
    def matches(root: Path) -> bool:
        return any(path.is_dir() for name in names for path in root.rglob(name))

    return matches


LAYOUTS: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], Iterator[Picture]]], ...] = (
    ("index.csv", lambda root: (root / INDEX).is_file(), _indexed),
    (
        "real/ and fake/<generator>/",
        lambda root: (root / "real").is_dir() and (root / "fake").is_dir(),
        _plain,
    ),
    ("GenImage (nature/, ai/)", _has_folder("nature"), _genimage),
    ("ForenSynths, AIGCDetectBenchmark, AIGIBench (0_real/, 1_fake/)", _has_folder("0_real"), _forensynths),
    ("DeepfakeBench (frames/)", _has_folder("frames"), _deepfakebench),
)
