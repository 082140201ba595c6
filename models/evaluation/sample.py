"""Which pictures are judged: one part of a data set, or a seeded sample of it where all take too long."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from models.data import NOTHING, Holdout, split_pictures
from models.layouts import Picture, scan

Part = Literal["all", "train", "validation", "test", "unseen"]


def choose(root: Path, part: Part, holdout: Holdout = NOTHING) -> list[Picture]:
    """The pictures of one part of a data set. Raises LayoutError."""
    pictures = scan(root)
    return pictures if part == "all" else list(getattr(split_pictures(pictures, holdout=holdout), part))


def sample(pictures: Sequence[Picture], limit: int, seed: int = 0) -> list[Picture]:
    """At most `limit` pictures of each generator and of each source of reals, in the order given.

    A picture's place is drawn from the seed and its path below the data set's last two folders, so that the
    same pictures are taken again wherever the data set lies.
    """
    kinds: dict[tuple[int, str], list[Picture]] = defaultdict(list)
    for picture in pictures:
        kinds[(picture.label, picture.generator if picture.label else picture.source)].append(picture)
    taken = {
        picture.path
        for kind in kinds.values()
        for picture in sorted(kind, key=lambda p: _place(p, seed))[:limit]
    }
    return [picture for picture in pictures if picture.path in taken]


def _place(picture: Picture, seed: int) -> bytes:
    named = "/".join(picture.path.parts[-3:])
    return hashlib.sha256(f"{seed}/{named}".encode()).digest()
