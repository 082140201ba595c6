"""Fit a probe's head: L2 logistic regression on standardised features of the frozen tower.

Each training picture is seen `COPIES` times: once untouched, then through draws of the augmentation that
a photograph and its doubles share; with a probe's `resaved` once more. Validation pictures choose the
strength of the penalty by macro AUC. A probe's `matched` adds the matched filter (`models.matched_filter`)
to what was found.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from models.augment import NONE, Strength, draw_chain, only_jpeg
from models.data import load
from models.ensemble import to_pixels
from models.layouts import Picture
from models.matched_filter import matched_filter
from models.metrics import auc
from models.probe import Probe
from models.spec import ViewSpec
from models.synthesis.copies import seeded
from models.towers.base import Tower
from models.views import render

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # of the data against the penalty; the first where nothing can choose
COPIES = (NONE, Strength().milder(), Strength())
FILE = "probe.npz"  # features of a run: they take long, the fit does not

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a probe reads, and the pictures as the recipe wants them."""

    tower: Tower
    probe: Probe
    view: ViewSpec
    short_sides: tuple[int, int] | None  # None: as the pictures are

    @torch.inference_mode()
    def features(self, picture: Picture, copies: Sequence[Strength]) -> Array:
        """[copies * crops, F] of one picture."""
        rgb, seen = load(picture), []
        for number, strength in enumerate(copies):
            rng = seeded("probe", picture.group, number)
            sides = self.short_sides or (min(rgb.shape[:2]),) * 2
            seen.append(render(draw_chain(rng, strength, sides).apply(rgb), self.view))
        branch = self.probe.branch
        device = self.tower.mean.device
        pixels = to_pixels(torch.from_numpy(np.stack(seen)).to(device), self.view)
        prefix, inner = self.tower.tapped_prefix(pixels, branch.start, branch.taps)
        found: Tensor = branch.features(self.tower, prefix, inner)
        return found.float().cpu().numpy()


def fit_probe(
    frozen: Frozen,
    train: Sequence[Picture],
    validation: Sequence[Picture],
    *,
    family_weights: Mapping[str, float],
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> float:
    """Set the head of `frozen.probe`; returns the strength that was chosen.

    Features that lie in the folder are taken from there.
    """
    rows, judged = _features(frozen, train, validation, folder / FILE, progress)
    each = len(rows) // len(train)
    labels = np.repeat([picture.label for picture in train], each)
    weights = np.repeat(picture_weights(train, family_weights), each)
    mean, std = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    if frozen.probe.bound is not None:
        low, high = mean - frozen.probe.bound * std, mean + frozen.probe.bound * std
        _set_bounds(frozen.probe, low, high)
        rows, judged = rows.clip(low, high), judged.clip(low, high)
    scaled, new = (rows - mean) / std, (judged - mean) / std
    best, choice, head = -1.0, STRENGTHS[0], None
    for strength in _strengths(frozen.probe, validation):
        model = LogisticRegression(C=strength / len(rows), max_iter=400)
        model.fit(scaled, labels, sample_weight=weights)
        crops = model.decision_function(new).reshape(len(validation), -1) if len(new) else np.empty((0, 1))
        reached = _macro_auc(crops.mean(axis=1), validation)
        if reached > best:
            best, choice, head = reached, strength, model
    assert head is not None
    weight = head.coef_[0] / std
    bias = float(head.intercept_[0]) - float(weight @ mean)
    if frozen.probe.matched:
        seen = rows.reshape(len(train), each, -1)
        weight, bias = _with_filter(weight, seen, train, frozen.probe.matched)
    _set_head(frozen.probe, weight, bias)
    return choice


def _strengths(probe: Probe, validation: Sequence[Picture]) -> Sequence[float]:
    if probe.strength is not None:
        return (probe.strength,)
    return STRENGTHS if {picture.label for picture in validation} == {0, 1} else STRENGTHS[:1]


def _with_filter(
    weight: NDArray[np.float64], seen: Array, train: Sequence[Picture], share: float
) -> tuple[NDArray[np.float64], float]:
    """The head with `share` of the matched filter, both rules at the spread that the head has on reals.

    Features [N, copies, F]; 0 lies halfway between the classes' means. Raises LayoutError.
    """
    labels = np.array([picture.label for picture in train])
    reals, fakes = (seen[labels == label].reshape(-1, seen.shape[-1]) for label in (0, 1))
    second = matched_filter(seen, train)
    spread = float((reals @ weight).std()) / float((reals @ second).std())
    both = weight + share * spread * second
    return both, -float((reals.mean(axis=0) + fakes.mean(axis=0)) @ both) / 2


def picture_weights(pictures: Sequence[Picture], family_weights: Mapping[str, float]) -> NDArray[np.float64]:
    """As paired batches draw them: both classes alike, families by their weight, pictures of one evenly."""
    count = Counter(picture.family for picture in pictures)
    shares = {family: family_weights.get(family, 1.0) for family in count if family}
    total = sum(shares.values())
    each = {family: share / total / count[family] for family, share in shares.items()}
    weights = np.array([each[p.family] if p.label else 1 / count[""] for p in pictures])
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def _features(
    frozen: Frozen,
    train: Sequence[Picture],
    validation: Sequence[Picture],
    file: Path,
    progress: Callable[[str, int, int], None],
) -> tuple[Array, Array]:
    if not file.is_file():
        done = 0

        def rows(pictures: Sequence[Picture], copies: Sequence[Strength]) -> Iterator[Array]:
            nonlocal done
            for picture in pictures:
                yield frozen.features(picture, copies)
                done += 1
                progress("probe", done, len(train) + len(validation))

        width, quality = frozen.probe.branch.head.in_features, frozen.probe.resaved
        copies = COPIES if quality is None else (*COPIES, only_jpeg(quality))
        none = [np.empty((0, width), np.float32)]
        fitted = np.concatenate(list(rows(train, copies)))
        judged = np.concatenate([*none, *rows(validation, COPIES[:1])])
        unfinished = file.with_suffix(".partial.npz")
        np.savez(unfinished, fitted=fitted, judged=judged)
        unfinished.replace(file)
    stored = np.load(file)
    return stored["fitted"], stored["judged"]


def _macro_auc(logits: NDArray[np.float64], pictures: Sequence[Picture]) -> float:
    """Mean over generators of the AUC against all reals; 0 where there is one class only."""
    by: dict[str, list[float]] = {}
    for picture, logit in zip(pictures, logits, strict=True):
        by.setdefault(picture.generator, []).append(float(logit))
    reals = np.array(by.pop("", []))
    return (
        float(np.mean([auc(reals, np.array(fakes)) for fakes in by.values()])) if by and len(reals) else 0.0
    )


def _set_bounds(probe: Probe, low: Array, high: Array) -> None:
    bounds = probe.branch.bounds
    assert bounds is not None
    bounds.low.copy_(torch.from_numpy(low))
    bounds.high.copy_(torch.from_numpy(high))


@torch.no_grad()
def _set_head(probe: Probe, weight: NDArray[np.float64], bias: float) -> None:
    head = probe.branch.head
    head.weight.copy_(torch.from_numpy(np.asarray(weight, dtype=np.float32))[None])
    head.bias.fill_(bias)
