"""Training inside a cell: the tower on the forensic task, then every variant behind its frozen prefix."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.batches import Seen, Stream
from models.captions import captions_of, subject_of
from models.data import PairedBatches, load
from models.layouts import Picture
from models.methods import Batch, Method
from models.study.plan import MOSAIC, SIDE, VIEWS, Budget
from models.study.variants import Variant
from models.text import TEMPLATE, embed_sentences, fit_projection
from models.towers.base import CLASS_PROMPTS, Tower
from models.towers.registry import pretrained_tower

CLIP = 5.0


class Tuned(nn.Module):
    """A tower that learns as a whole, with one linear head a view."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        if tower.joint_dim != tower.pooled_dim:
            raise ValueError(
                f"{tower.name} has a joint space of its own: one head a view cannot start all methods"
            )
        self.tower = tower
        self.heads = nn.ModuleDict({view.name: nn.Linear(tower.joint_dim, 1) for view in VIEWS})
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def head(self, view: str) -> nn.Linear:
        """The head of one view."""
        head = self.heads[view]
        assert isinstance(head, nn.Linear)
        return head

    def loss(self, seen: Seen) -> Tensor:
        """BCE, the mean over the views of the batch."""
        losses = []
        for view, pixels in seen.pixels.items():
            logits = self.heads[view](self.tower.joint(self.tower(pixels)))[:, 0]
            losses.append(F.binary_cross_entropy_with_logits(logits, seen.labels))
        return torch.stack(losses).mean()


def stream(train: Sequence[Picture], budget: Budget, seed: int, stage: str, every: dict[str, int]) -> Stream:
    """Paired batches with milder codecs: the hard families are not learned under strong ones."""
    source = PairedBatches(train, budget.pairs, short_sides=(SIDE, SIDE))
    mild_throughout = 1 << 30
    return Stream(source, VIEWS, seed, stage, every, mild_throughout)


def tune(train: Sequence[Picture], budget: Budget, seed: int) -> Tuned:
    """Fit tower and heads; returned frozen."""
    torch.manual_seed(seed)
    tuned = Tuned(pretrained_tower(budget.tower))
    for module in tuned.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    batches = stream(train, budget, seed, "tune", {MOSAIC.name: 2}).since(0)
    _fit({"tuned": tuned}, lambda _, step: tuned.loss(next(batches)), budget.tune_steps, budget.tune_lr, seed)
    return tuned.requires_grad_(False).eval()


@dataclass(frozen=True, slots=True)
class Banked:
    """One batch behind the shared prefix."""

    prefixes: dict[str, Tensor]  # view -> the prefix's output
    labels: Tensor
    captions: Tensor  # [B, J]


@torch.no_grad()
def bank(tower: Tower, train: Sequence[Picture], budget: Budget, seed: int, start: int) -> list[Banked]:
    """The batches that all variants go round; also gives the tower the texts of both classes."""
    classes, captions = texts(tower, train, seed)
    tower.class_text.copy_(classes)
    banked = []
    batches = stream(train, budget, seed, "methods", {}).since(0)
    for _ in range(budget.bank):
        seen = next(batches)
        prefixes = {view: tower.prefix(pixels, start) for view, pixels in seen.pixels.items()}
        told = torch.stack([captions[picture.path] for picture in seen.pictures.pictures])
        banked.append(Banked(prefixes, seen.labels, told))
    return banked


def texts(tower: Tower, train: Sequence[Picture], seed: int) -> tuple[Tensor, dict[Path, Tensor]]:
    """Embeddings of the class texts [2, J] and of a caption a picture [J], in the tower's joint space.

    A linear map takes the sentences there; it is fitted on the training photographs and their subjects.
    """
    reals = [picture for picture in train if picture.label == 0]
    names = sorted({subject_of(picture) for picture in reals})
    with torch.no_grad():
        pixels = (torch.from_numpy(np.array(load(one))).permute(2, 0, 1)[None].float() for one in reals)
        images = torch.cat([tower.joint(tower(one)) for one in pixels])
    centre = images.mean(dim=0)
    subjects = torch.tensor([names.index(subject_of(picture)) for picture in reals])
    sentences = embed_sentences([TEMPLATE.format(name) for name in names])
    with torch.enable_grad():
        matrix = fit_projection(images - centre, subjects, sentences, steps=100, seed=seed)
    length = float((images - centre).norm(dim=1).mean())

    def project(words: Sequence[str]) -> Tensor:
        return centre + length * F.normalize(embed_sentences(words) @ matrix.T, dim=1)

    captions = captions_of(train, {})
    distinct = sorted(set(captions.values()))
    table = dict(zip(distinct, project(distinct), strict=True))
    return project(CLASS_PROMPTS), {path: table[caption] for path, caption in captions.items()}


def fit_methods(
    tower: Tower, methods: Mapping[str, Method], variants: Sequence[Variant], banked: Sequence[Banked],
    budget: Budget, seed: int,
) -> None:  # fmt: skip
    """All methods on the same batches; each has its own optimiser and no parameter of another."""
    views = {variant.name: variant.view for variant in variants}
    for method in methods.values():
        method.train()

    def loss(name: str, step: int) -> Tensor:
        seen = banked[step % len(banked)]
        batch = Batch(seen.prefixes[views[name]], seen.labels, seen.captions)
        return methods[name].losses(tower, batch)["total"]

    def after_step(name: str, step: int) -> None:
        methods[name].after_step(step + 1, budget.method_steps)

    _fit(methods, loss, budget.method_steps, budget.method_lr, seed, after_step)
    for method in methods.values():
        method.eval()


def _fit(
    modules: Mapping[str, nn.Module], loss: Callable[[str, int], Tensor], steps: int, rate: float, seed: int,
    after_step: Callable[[str, int], None] = lambda name, step: None,
) -> None:  # fmt: skip
    """AdamW with one warm-up and one cosine for each module; a step's random numbers are the same for all."""
    parts = {name: [p for p in module.parameters() if p.requires_grad] for name, module in modules.items()}
    optimisers = {name: torch.optim.AdamW(p, lr=rate, weight_decay=1e-4) for name, p in parts.items()}
    for step in range(steps):
        share = (step + 0.5) / steps
        now = rate * min(1.0, share / 0.15) * (0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * share))))
        for name, optimiser in optimisers.items():
            torch.manual_seed((seed * 1_000_003 + step) % 2**31)
            optimiser.param_groups[0]["lr"] = now
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(name, step))
            nn.utils.clip_grad_norm_(parts[name], CLIP)
            optimiser.step()
            after_step(name, step)
