"""The stages of a run: tower, text side, teacher head, detectors. Each picks up where it was cut off.

1. tune     the whole tower and a linear head learn real against synthetic (skipped with 0 steps)
2. text     class texts and captions are brought into the tower's joint space
3. head     DGS-Net's stage 1: a linear head on the frozen tower (the tuned tower's own head otherwise)
4. methods  the three detectors, side by side on the same batches, behind the frozen shared prefix
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from models.adapters import fold
from models.batches import Seen, Stream
from models.captions import captions_of, read_captions
from models.data import PairedBatches, Split
from models.dgs_net import DgsNet
from models.ensemble import Branch, Ensemble
from models.loop import Losses, Progress, optimise
from models.masm import Masm
from models.methods import Batch, Method
from models.pin_clip import PinClip
from models.probe import Probe
from models.recipe import DetectorRecipe, Recipe, Stage
from models.text_side import TextSide, fit_text_side
from models.towers.base import Tower
from models.towers.registry import pretrained_tower

METHODS: dict[str, Callable[..., Method]] = {
    "pin_clip": PinClip,
    "dgs_net": DgsNet,
    "masm": Masm,
    "probe": Probe,
}


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run lives, and what it trains on."""

    folder: Path
    data: Path
    split: Split
    recipe: Recipe
    progress: Progress

    def stream(self, name: str, stage: Stage) -> Stream:
        """Batches of the stage `name`."""
        weights = dict(self.recipe.family_weights)
        source = PairedBatches(
            self.split.train, stage.pairs, short_sides=self.recipe.short_sides, family_weights=weights
        )
        mild_steps = round(stage.mild * stage.steps)
        return Stream(source, self.recipe.views, self.recipe.seed, name, stage.every, mild_steps)


class Tuner(nn.Module):
    """A tower with linear heads on its pooled and on its joint features: what `tune` and `head` train.

    Each view has heads of its own: a crop and a whole picture spread differently over the features.
    """

    def __init__(self, tower: Tower, views: Iterable[str]) -> None:
        super().__init__()
        self.tower = tower
        widths = {"pooled": tower.pooled_dim, "joint": tower.joint_dim}
        self.heads = nn.ModuleDict(
            {_head(view, feature): nn.Linear(width, 1) for view in views for feature, width in widths.items()}
        )
        for parameter in self.heads.parameters():
            nn.init.zeros_(parameter)

    def losses(self, seen: Seen) -> Losses:
        """BCE, the mean over views and heads."""
        parts: Losses = {}
        for name, pixels in seen.pixels.items():
            pooled = self.tower(pixels)
            for feature, x in (("pooled", pooled), ("joint", self.tower.joint(pooled))):
                logits = self.heads[_head(name, feature)](x)[:, 0]
                parts[_head(name, feature)] = F.binary_cross_entropy_with_logits(logits, seen.labels)
        return {"total": torch.stack(list(parts.values())).mean(), **parts}


def _head(view: str, feature: str) -> str:
    return f"{view}_{feature}"


@dataclass(frozen=True, slots=True)
class Trained:
    """The folded detectors in eval mode, and how well the text side fits."""

    ensemble: Ensemble
    text: TextSide


def train(run: Run) -> Trained:
    """All stages."""
    torch.manual_seed(run.recipe.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    tuner = tuned(run)
    tower = tuner.tower.requires_grad_(False)
    captions = captions_of(run.split.train, read_captions(run.data))
    text = fit_text_side(tower, run.split.train, captions, run.recipe)
    methods = [make_method(one, tower, run.recipe.adapt_from, tuner.heads) for one in run.recipe.detectors]
    train_methods(run, tower, methods, text)
    branches = [folded_branch(method) for method in methods]
    reads = [one.view for one in run.recipe.detectors]
    return Trained(Ensemble(tower, branches, list(run.recipe.views), reads).eval(), text)


def tuned(run: Run) -> Tuner:
    """Stages `tune` (everything learns) and `head` (the tower is frozen)."""
    views = [view.name for view in run.recipe.views]
    tuner = Tuner(pretrained_tower(run.recipe.tower), views)
    for module in tuner.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    for name, stage in (("tune", run.recipe.tune), ("head", run.recipe.head)):
        tuner.tower.requires_grad_(name == "tune")
        if stage.steps:
            stream = run.stream(name, stage)
            optimise(tuner, tuner.losses, stream, stage, run.folder, progress=run.progress)
    return tuner


def make_method(recipe: DetectorRecipe, tower: Tower, start: int, heads: nn.ModuleDict) -> Method:
    """One method whose branch starts as the tower itself, with the head that was trained on it.

    A head on inner blocks starts afresh: `tune` and `head` train none there.
    """
    method = METHODS[recipe.name](tower, start, **recipe.options)
    if method.branch.feature != "blocks":
        method.branch.head.load_state_dict(heads[_head(recipe.view, method.branch.feature)].state_dict())
    if isinstance(method, DgsNet):
        method.set_teacher(method.branch.head)
    return method


def train_methods(run: Run, tower: Tower, methods: list[Method], text: TextSide) -> None:
    """Stage `methods`: the losses are summed, but no parameter belongs to two detectors."""
    tower.class_text.copy_(text.classes)
    reads: dict[str, str] = {one.name: one.view for one in run.recipe.detectors}
    stage, start = run.recipe.methods, run.recipe.adapt_from

    def losses(seen: Seen) -> Losses:
        with torch.no_grad():
            prefixes = {
                view: tower.prefix(seen.pixels[view], start) for view in dict.fromkeys(reads.values())
            }
        captions = text.of(seen.pictures.pictures)
        parts: Losses = {}
        for method in methods:
            batch = Batch(prefixes[reads[method.name]], seen.labels, captions)
            parts |= {f"{method.name}_{name}": value for name, value in method.losses(tower, batch).items()}
        return {"total": torch.stack([parts[f"{method.name}_total"] for method in methods]).sum(), **parts}

    def after_step(step: int) -> dict[str, float]:
        seen: dict[str, float] = {}
        for method in methods:
            method.after_step(step, stage.steps)
            seen |= {f"{method.name}_{name}": value for name, value in method.monitors().items()}
        return seen

    together = nn.ModuleList(methods).train()
    stream = run.stream("methods", stage)
    optimise(together, losses, stream, stage, run.folder, after_step=after_step, progress=run.progress)


def folded_branch(method: Method) -> Branch:
    """The detector as it is served: dense weights, nothing of the method left."""
    branch = fold(method.branch)
    assert isinstance(branch, Branch)
    return branch.eval().requires_grad_(False)
