"""The whole evaluation of one bundle: scores first, then every table from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.bundle import Bundle
from models.evaluation.comparison import MethodRow, method_rows
from models.evaluation.contenders import ENSEMBLE, MEAN, Contender, Method, of_bundle
from models.evaluation.flips import FlipRow, flip_rows, flipped_verdicts
from models.evaluation.robustness import RobustnessRow, robustness_rows
from models.evaluation.strata import StratumRow, stratum_rows
from models.evaluation.tables import DRAWS, Panel, Table, panel, tabulate
from models.layouts import Picture
from models.resave import saved_as_jpeg
from models.scoring import Change, Engine, score, score_copies

SHORT_SIDE = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """How an evaluation is made. The same settings and files give the same figures."""

    engine: Engine = "onnxruntime"
    threads: int = 1
    short_side: int | None = SHORT_SIDE  # None: pictures as they are, so that size may tell the classes
    grid: Mapping[str, Change] | None = None  # say robustness.GRID; each scores all pictures once more
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was found."""

    bundle: Bundle
    settings: Settings
    panel: Panel
    methods: dict[str, Method]  # the ensemble first
    tables: dict[str, Table]
    comparison: list[MethodRow]
    strata: list[StratumRow]
    flips: list[FlipRow]
    robust: list[RobustnessRow]
    members: tuple[str, ...]  # of the correlation
    correlation: NDArray[np.float64]  # [M, M] of residuals: 1 means that two err alike

    @property
    def fused(self) -> Table:
        """The ensemble's table."""
        return self.tables[ENSEMBLE]

    @property
    def trained_on(self) -> frozenset[str]:
        """Generators, and sources of reals, of this evaluation that the bundle was trained on."""
        known = self.bundle.manifest.training.get("pictures", {})
        names = {picture.generator or picture.source for picture in self.panel.pictures}
        return frozenset(name for name in names if name in known or f"real:{name}" in known)


def evaluate_bundle(
    bundle: Bundle,
    pictures: Sequence[Picture],
    settings: Settings = Settings(),
    *,
    beside: Sequence[Contender] = (),
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """`progress` is told how many pictures were scored; `to_score` says of how many."""
    on = panel(pictures, settings.draws, settings.seed)
    main = of_bundle(bundle, settings.engine, settings.threads)
    judges = [main, *beside]

    def judged(contender: Contender, chosen: Sequence[Picture], change: Change | None = None) -> list[Method]:
        side = settings.short_side
        found = score(
            contender.run, contender.views, chosen, short_side=side, change=change, progress=progress
        )
        copies = found
        if contender.recheck is not None:
            copies = score_copies(
                contender.run, contender.recheck, chosen, found, short_side=side, change=change
            )
        return contender.read(found, copies)

    methods = {method.name: method for judge in judges for method in judged(judge, pictures)}
    tables = {name: tabulate(on, method) for name, method in methods.items()}
    resaved = judged(main, [pictures[index] for index in on.reals], saved_as_jpeg)[0]
    flipped = flipped_verdicts(methods[ENSEMBLE], on.labels, resaved)
    changed = {
        name: [method for judge in judges for method in judged(judge, pictures, change)]
        for name, change in (settings.grid or {}).items()
    }
    members = tuple(name for name in methods if name not in (ENSEMBLE, MEAN))
    margins = np.stack([methods[name].margins for name in members], axis=1)
    return Evaluation(
        bundle=bundle,
        settings=settings,
        panel=on,
        methods=methods,
        tables=tables,
        comparison=method_rows(methods, tables),
        strata=stratum_rows(on, methods[ENSEMBLE], flipped),
        flips=flip_rows(pictures, flipped),
        robust=robustness_rows(on, methods, changed) if changed else [],
        members=members,
        correlation=metrics.residual_correlation(margins, on.labels),
    )


def to_score(pictures: Sequence[Picture], settings: Settings, contenders: int) -> int:
    """How many pictures an evaluation scores: all once a contender and change, the reals once more."""
    passes = contenders * (1 + len(settings.grid or {}))
    return passes * len(pictures) + sum(picture.label == 0 for picture in pictures)
