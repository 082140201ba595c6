"""Class texts and captions in the tower's joint space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.data import load_at
from models.layouts import Picture
from models.recipe import Recipe
from models.text import embed_sentences, fit_projection, retrieval
from models.towers.base import CLASS_PROMPTS, Tower
from models.views import render

HELD_OUT = 5  # every fifth real picture measures the retrieval
MOST = 1500  # real pictures that the map is fitted on
Encoder = Callable[[Sequence[str]], Tensor]  # [N] sentences -> [N, J]


@dataclass(frozen=True, slots=True)
class TextSide:
    """Text embeddings [*, J] of the classes and of every training picture's caption."""

    classes: Tensor  # [2, J]
    captions: Mapping[Path, Tensor]  # [J] each
    encoder: str  # what turned the sentences into vectors
    retrieval: float  # held-out share of real pictures whose nearest caption is their own
    subjects: int  # among how many different captions

    def of(self, pictures: Sequence[Picture]) -> Tensor:
        """Captions of a batch, [B, J]."""
        return torch.stack([self.captions[picture.path] for picture in pictures])


@dataclass(frozen=True, slots=True)
class _Reals:
    """Real pictures in the joint space, and which caption is whose."""

    images: Tensor  # [N, J]
    captions: list[str]  # [C], distinct
    index: Tensor  # [N], into `captions`

    @property
    def held_out(self) -> Tensor:
        return torch.arange(len(self.images)) % HELD_OUT == 0


def make_text_side(
    tower: Tower,
    pictures: Sequence[Picture],
    captions: Mapping[Path, str],
    recipe: Recipe,
    encode: Encoder | None = None,
) -> TextSide:
    """With the tower's own text tower, `encode`; without one, with MiniLM and a map that is fitted here."""
    reals = _reals(tower, pictures, captions, recipe)
    if encode:
        name, centre = "the tower's own text tower", torch.zeros(reals.images.shape[1])
    else:
        name, centre = "MiniLM and a fitted projection", reals.images.mean(dim=0)
        encode = _projected(reals, centre, recipe.seed)
    aside = reals.held_out
    texts = encode(reals.captions) - centre
    measured = retrieval(reals.images[aside] - centre, reals.index[aside], texts)
    distinct = sorted(set(captions.values()))
    table = dict(zip(distinct, encode(distinct), strict=True))
    by_path = {path: table[caption] for path, caption in captions.items()}
    return TextSide(encode(CLASS_PROMPTS), by_path, name, measured, len(reals.captions))


def _reals(tower: Tower, pictures: Sequence[Picture], captions: Mapping[Path, str], recipe: Recipe) -> _Reals:
    chosen = [picture for picture in pictures if picture.label == 0][:MOST]
    names = sorted({captions[picture.path] for picture in chosen})
    index = torch.tensor([names.index(captions[picture.path]) for picture in chosen])
    return _Reals(joint_features(tower, chosen, recipe), names, index)


def _projected(reals: _Reals, centre: Tensor, seed: int) -> Encoder:
    """MiniLM behind the map that brings captions to their pictures, at the pictures' mean distance."""
    fit = ~reals.held_out
    texts = embed_sentences(reals.captions)
    matrix = fit_projection(reals.images[fit] - centre, reals.index[fit], texts, seed=seed)
    length = float((reals.images - centre).norm(dim=1).mean())

    def encode(sentences: Sequence[str]) -> Tensor:
        return centre + length * F.normalize(embed_sentences(sentences) @ matrix.T, dim=1)

    return encode


@torch.no_grad()
def joint_features(tower: Tower, pictures: Sequence[Picture], recipe: Recipe) -> Tensor:
    """Joint embeddings [N, J] of pictures in the recipe's first view (the first crop of a grid)."""
    spec, device = recipe.views[0], tower.mean.device
    if spec.kind == "crops":
        spec = spec.model_copy(update={"size": spec.tile})
    rows = []
    for start in range(0, len(pictures), 16):
        batch = np.stack([render(load_at(picture), spec) for picture in pictures[start : start + 16]])
        pixels = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()
        rows.append(tower.joint(tower(pixels.contiguous(memory_format=torch.channels_last))).cpu())
    return torch.cat(rows)
