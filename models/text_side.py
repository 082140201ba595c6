"""Class texts and captions in the tower's joint space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.captions import subject_of
from models.data import load_at
from models.layouts import Picture
from models.recipe import Recipe
from models.text import TEMPLATE, embed_sentences, fit_projection, retrieval
from models.towers.base import CLASS_PROMPTS, Tower
from models.views import render

HELD_OUT = 5  # every fifth picture of a subject measures the retrieval
MOST = 1500  # pictures that the map is fitted on


@dataclass(frozen=True, slots=True)
class TextSide:
    """Text embeddings [*, J] of the classes and of every training picture's caption."""

    classes: Tensor  # [2, J]
    captions: Mapping[Path, Tensor]  # [J] each
    retrieval: float  # held-out share of pictures whose nearest text is that of their subject
    subjects: int  # among how many

    def of(self, pictures: Sequence[Picture]) -> Tensor:
        """Captions of a batch, [B, J]."""
        return torch.stack([self.captions[picture.path] for picture in pictures])


def fit_text_side(
    tower: Tower, pictures: Sequence[Picture], captions: Mapping[Path, str], recipe: Recipe
) -> TextSide:
    """Fit the map from MiniLM to the joint space on real pictures, and measure it on held-out ones."""
    reals = [picture for picture in pictures if picture.label == 0][:MOST]
    names = sorted({subject_of(picture) for picture in reals})
    subjects = torch.tensor([names.index(subject_of(picture)) for picture in reals])
    images = joint_features(tower, reals, recipe)  # [N, J]
    centre = images.mean(dim=0)
    texts = embed_sentences([TEMPLATE.format(name) for name in names])
    held_out = torch.arange(len(reals)) % HELD_OUT == 0
    matrix = fit_projection(images[~held_out] - centre, subjects[~held_out], texts, seed=recipe.seed)
    measured = retrieval(images[held_out] - centre, subjects[held_out], texts, matrix)
    length = float((images - centre).norm(dim=1).mean())

    def project(sentences: Sequence[str]) -> Tensor:
        return centre + length * F.normalize(embed_sentences(sentences) @ matrix.T, dim=1)

    distinct = sorted(set(captions.values()))
    table = dict(zip(distinct, project(distinct), strict=True))
    by_path = {path: table[caption] for path, caption in captions.items()}
    return TextSide(project(CLASS_PROMPTS), by_path, measured, len(names))


@torch.no_grad()
def joint_features(tower: Tower, pictures: Sequence[Picture], recipe: Recipe) -> Tensor:
    """Joint embeddings [N, J] of pictures in the recipe's first view (the first crop of a grid)."""
    spec = recipe.views[0]
    if spec.kind == "crops":
        spec = spec.model_copy(update={"size": spec.tile})
    rows = []
    for start in range(0, len(pictures), 16):
        batch = np.stack([render(load_at(picture), spec) for picture in pictures[start : start + 16]])
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).float()
        rows.append(tower.joint(tower(pixels.contiguous(memory_format=torch.channels_last))))
    return torch.cat(rows)
