"""The stages of a run: tower, text side, teacher head, detectors. Each picks up where it was cut off.

1. tune     the whole tower and a linear head learn real against synthetic (skipped with 0 steps)
2. head     DGS-Net's stage 1: a linear head on the frozen tower (0 steps where `tune` made one)
3. text     class texts and captions are brought into the tower's joint space
4. methods  the detectors, side by side on the same batches, behind the frozen shared prefix
5. probe    a linear head on the frozen tower, where the recipe asks for one
6. noise    whether PiN-CLIP's noise tells the classes apart by itself (it must not)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from models.adapters import fold
from models.batches import CHUNK, Seen, Stream
from models.captions import captions_of, read_captions
from models.data import PairedBatches, Split
from models.dgs_net import DgsNet
from models.ensemble import Branch, Ensemble
from models.layouts import Picture
from models.loop import Groups, Losses, Progress, optimise
from models.masm import Masm
from models.methods import Batch, Method
from models.noise import BATCHES, NoiseReport, Samples, draw, judge_noise
from models.pin_clip import PinClip
from models.probe import Probe
from models.probe_fit import Frozen, fit_probe
from models.recipe import NAMES, DetectorRecipe, Recipe, Stage
from models.text_side import Encoder, TextSide, make_text_side
from models.towers.base import Tower
from models.tuner import Tuner

METHODS: dict[str, Callable[..., Method | Probe]] = {
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

    @property
    def short_sides(self) -> tuple[int, int] | None:
        """Both pictures of a pair are brought to one of these; None: as they are."""
        return None if self.recipe.short_sides == "native" else self.recipe.short_sides

    def stream(self, name: str, stage: Stage, pictures: Sequence[Picture] | None = None) -> Stream:
        """Batches of the stage `name`, of the training pictures where no others are given."""
        source = PairedBatches(
            self.split.train if pictures is None else pictures,
            stage.pairs,
            short_sides=self.short_sides,
            family_weights=dict(self.recipe.family_weights),
        )
        mild_steps = round(stage.mild * stage.steps)
        return Stream(source, self.recipe.views, self.recipe.seed, name, stage.every, mild_steps)


@dataclass(frozen=True, slots=True)
class Trained:
    """The folded detectors in eval mode, on the CPU, and what was measured on the way."""

    ensemble: Ensemble
    text: TextSide | None  # where a method was trained: probes read no text
    noise: NoiseReport | None  # where PiN-CLIP was trained


def train(run: Run, tower: Tower, encode: Encoder | None = None) -> Trained:
    """All stages, on the device that `tower` is on. `encode` is the tower's own text tower, if it has one."""
    recipe, device = run.recipe, tower.mean.device
    run.folder.mkdir(parents=True, exist_ok=True)
    tuner = Tuner(tower, [view.name for view in recipe.views]).to(device)
    for name, stage in (("tune", recipe.tune), ("head", recipe.head)):
        tuner.fit(run.stream(name, stage), stage, run.folder, recipe.precision, run.progress)
    tower.requires_grad_(False)
    methods = [make_method(one, tuner, recipe.adapt_from, recipe.seed).to(device) for one in recipe.detectors]
    text = None
    if any(isinstance(method, Method) for method in methods):
        captions = captions_of(run.split.train, read_captions(run.data))
        text = make_text_side(tower, run.split.train, captions, recipe, encode)
        tower.class_text.copy_(text.classes)
        train_methods(run, tower, [one for one in methods if isinstance(one, Method)], text)
    fit_probes(run, tower, methods)
    noise = noise_report(run, tower, methods)
    branches = [folded_branch(method) for method in methods]
    ensemble = Ensemble(tower, branches, list(recipe.views), [one.view for one in recipe.detectors])
    return Trained(ensemble.eval().cpu(), text, noise)


def make_method(recipe: DetectorRecipe, tuner: Tuner, start: int, seed: int) -> Method | Probe:
    """One method whose branch starts as the tower itself, with the head that was trained on it.

    A probe's head is fitted at the end, whatever the tower was trained with. What is drawn depends on the
    seed and the method alone, not on what ran before.
    """
    torch.manual_seed(len(NAMES) * seed + NAMES.index(recipe.name))
    method = METHODS[recipe.name](tuner.tower, start, **recipe.options)
    if isinstance(method, Method):
        head = tuner.head(recipe.view, method.branch.feature)
        method.branch.head.load_state_dict(head.state_dict())
    if isinstance(method, DgsNet):
        method.set_teacher(method.branch.head)
    return method


def train_methods(run: Run, tower: Tower, methods: Sequence[Method], text: TextSide) -> None:
    """Stage `methods`: the losses are summed, but no parameter belongs to two detectors."""
    reads: dict[str, str] = {one.name: one.view for one in run.recipe.detectors}
    stage, start = run.recipe.methods, run.recipe.adapt_from

    def losses(seen: Seen) -> Losses:
        with torch.no_grad():
            prefixes = {
                view: tower.prefix(seen.pixels[view], start)
                for view in dict.fromkeys(reads[method.name] for method in methods)
            }
        captions = text.of(seen.pictures.pictures).to(seen.labels.device)
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
    optimise(
        together,
        losses,
        run.stream("methods", stage),
        stage,
        run.folder,
        groups=_groups(run.recipe, methods),
        precision=run.recipe.precision,
        after_step=after_step,
        progress=run.progress,
    )


def _groups(recipe: Recipe, methods: Sequence[Method]) -> Groups:
    """A method may have rates of its own."""
    groups, named = [], {str(one.name): one for one in recipe.detectors}
    for method in methods:
        one = named[method.name]
        decay = recipe.methods.weight_decay if one.weight_decay is None else one.weight_decay
        parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
        groups.append({"params": parameters, "lr": one.lr or recipe.methods.lr, "weight_decay": decay})
    return groups


def fit_probes(run: Run, tower: Tower, methods: Sequence[Method | Probe]) -> None:
    """Stage `probe`: logistic regression on frozen features."""
    for one, probe in zip(run.recipe.detectors, methods, strict=True):
        if isinstance(probe, Probe):
            frozen = Frozen(tower, probe, run.recipe.view(one.view), run.short_sides)
            fit_probe(
                frozen,
                run.split.train,
                run.split.validation,
                family_weights=run.recipe.family_weights,
                folder=run.folder,
                progress=run.progress,
            )


def noise_report(run: Run, tower: Tower, methods: Sequence[Method | Probe]) -> NoiseReport | None:
    """Fitted on training pictures; measured on validation pictures where there are some of both classes."""
    pin = next((method for method in methods if isinstance(method, PinClip)), None)
    if pin is None:
        return None
    stage, recipe = run.recipe.methods, run.recipe
    view = next(one.view for one in recipe.detectors if one.name == pin.name)
    count = min(BATCHES, stage.steps)
    validation = {picture.label for picture in run.split.validation} == {0, 1}
    torch.manual_seed(recipe.seed)

    def samples(pictures: Sequence[Picture], first: int) -> Samples:
        stream = run.stream("noise", stage.model_copy(update={"every": {}}), pictures)
        stream.specs = tuple(spec for spec in stream.specs if spec.name == view)
        return draw(pin, tower, islice(stream.since(first), count), view)

    fit = samples(run.split.train, 0)
    held_out = samples(run.split.validation if validation else run.split.train, CHUNK)
    return judge_noise(fit, held_out, validation=validation)


def folded_branch(method: Method | Probe) -> Branch:
    """The detector as it is served: dense weights, nothing of the method left."""
    branch = fold(method.branch)
    assert isinstance(branch, Branch)
    return branch.eval().requires_grad_(False)
