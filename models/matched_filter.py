"""The direction that tells doubles from their photographs, and reals from each other as little as it can.

A matched filter, w = (C + s I)^-1 d (Fisher's discriminant of 1936, its spread taken from one class alone):

- d is what a generator changes: a synthetic picture's features minus those of the photograph that it was
  made from, seen through the same augmentation, so that no subject is in it (matched pairs: Breslow and Day,
  1980);
- C is how real photographs differ among themselves, large sources weighing as the root of their size: what
  tells one source from another costs. Logistic regression asks for no such thing, and takes photographs of a
  new source for synthetic more often (docs/detectors.md);
- s, in units of a standardised feature's variance, keeps the inverse finite (Friedman, 1989).
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from models.layouts import LayoutError, Picture

SHRINKAGE = 0.03

Array = NDArray[np.float32]


def matched_filter(seen: Array, pictures: Sequence[Picture], shrinkage: float = SHRINKAGE) -> Array:
    """Weights [F] on the features [N, copies, F] of N pictures, every family with doubles weighing the same.

    Pictures without a photograph of their own (text to image) do not take part. Raises LayoutError where no
    synthetic picture names its photograph.
    """
    changed = _changes(seen, pictures)
    reals = [index for index, picture in enumerate(pictures) if picture.label == 0]
    weights = _alike([pictures[index].source for index in reals])
    rows = seen[reals].reshape(-1, seen.shape[-1])
    each = np.repeat(weights / seen.shape[1], seen.shape[1]).astype(np.float32)
    mean = each @ rows
    scale = np.sqrt(each @ (rows - mean) ** 2) + np.float32(1e-4)
    rows = (rows - mean) / scale * np.sqrt(each)[:, None]
    spread = rows.T @ rows + np.float32(shrinkage) * np.eye(len(scale), dtype=np.float32)
    found: Array = solve(spread, changed / scale, assume_a="pos") / scale
    return found


def _changes(seen: Array, pictures: Sequence[Picture]) -> Array:
    """Mean over families of the mean change [F] that their generators make.

    Of the twin that a picture names, else of the photographs of its group.
    """
    reals: dict[object, list[int]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        if picture.label == 0:
            reals[picture.path].append(index)
            reals[picture.group].append(index)
    changes: dict[str, list[Array]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        own = reals.get(picture.twin or picture.group) if picture.label else None
        if own:
            changes[picture.family].append((seen[index] - seen[own].mean(axis=0)).mean(axis=0))
    if not changes:
        raise LayoutError(
            "a matched filter needs synthetic pictures made from photographs that are there too: files "
            "of one name in real/ and fake/, or a probe without the option `matched`"
        )
    return np.asarray(np.mean([np.mean(each, axis=0) for each in changes.values()], axis=0), np.float32)


def _alike(sources: Sequence[str]) -> NDArray[np.float64]:
    """Weights [N], a sum of one: a source weighs as the root of its size."""
    _, index, counts = np.unique(sources, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[index])
    return np.asarray(weights / weights.sum(), dtype=np.float64)
