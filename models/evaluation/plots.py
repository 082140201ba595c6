"""The plots of a report, as SVG: the same file for the same figures."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.evaluation.contenders import ENSEMBLE
from models.evaluation.robustness import UNTOUCHED
from models.evaluation.run import Evaluation

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a9199",
    "axes.grid": True,
    "grid.color": "#e9eaec",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "pixassay",
    "svg.fonttype": "path",  # looks the same where the font is missing
}
COLOURS = ("#1f5fa8", "#8a9199", "#d1702a", "#2b8a57", "#a04a8f", "#b8a02e", "#3aa3b5", "#7a5c46")
REAL, FAKE = "#2b8a57", "#b3261e"


def draw_all(found: Evaluation) -> dict[str, str]:
    """SVG text by name: roc, generators, scores, reliability, and robustness where it was measured."""
    drawers: dict[str, Callable[[Evaluation], Figure]] = {
        "roc": _roc,
        "generators": _generators,
        "scores": _scores,
        "reliability": _reliability,
    }
    if found.robust:
        drawers["robustness"] = _robustness
    with mpl.rc_context(STYLE):
        return {name: _svg(draw(found)) for name, draw in drawers.items()}


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return text.getvalue()


def _canvas(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def _roc(found: Evaluation) -> Figure:
    """Mean over generators of the share found, at each share of reals flagged."""
    figure, (axes,) = _canvas(5.2, 4.4)
    rates = np.geomspace(0.005, 1, 120)
    reals = found.panel.reals
    for colour, method in zip(_cycle(len(found.methods)), found.methods.values(), strict=True):
        cuts = np.quantile(method.scores[reals], 1 - rates, method="higher")
        shares = [
            (method.scores[found.panel.fakes_of(name)][:, None] > cuts).mean(axis=0)
            for name in found.panel.generators
        ]
        width = 2.4 if method.name == ENSEMBLE else 1.2
        axes.plot(rates, np.mean(shares, axis=0), color=colour, lw=width, label=method.name)
    axes.plot(rates, rates, color="#c3c7cb", lw=1, ls=":", label="chance")
    axes.set(xscale="log", xlim=(0.005, 1), ylim=(0, 1.01))
    axes.set(xlabel="share of real photographs flagged", ylabel="share of synthetic pictures found")
    axes.set_xticks([0.01, 0.05, 0.1, 0.5, 1], ["1 %", "5 %", "10 %", "50 %", "100 %"])
    axes.minorticks_off()
    axes.legend(loc="upper left")
    return figure


def _generators(found: Evaluation) -> Figure:
    """AUC of the ensemble with its interval, beside that of the file facts."""
    rows = sorted(found.fused.generators, key=lambda row: row.figures.auc.value)
    figure, (axes,) = _canvas(6.4, 1.2 + 0.3 * len(rows))
    places = np.arange(len(rows))
    values = np.array([row.figures.auc.value for row in rows])
    limits = np.array([[row.figures.auc.low, row.figures.auc.high] for row in rows])
    axes.hlines(places, limits[:, 0], limits[:, 1], color=COLOURS[0], lw=2)
    axes.plot(values, places, "o", color=COLOURS[0], label="ensemble, 95 % interval")
    axes.plot([row.facts_auc for row in rows], places, "x", color=FAKE, label="file facts alone")
    axes.axvline(0.5, color="#8a9199", ls=":", lw=1)
    axes.set_yticks(places, [row.generator for row in rows])
    axes.set(xlabel="AUC against all real photographs", xlim=(min(0.4, limits[:, 0].min()), 1.01))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.6 / figure.get_figheight()), ncols=2)
    return figure


def _scores(found: Evaluation) -> Figure:
    """Where the scores of both classes lie, and where the policy cuts."""
    method, labels = found.methods[ENSEMBLE], found.panel.labels
    figure, (axes,) = _canvas(6.4, 3.2)
    bins = np.linspace(0, 1, 41).tolist()
    for label, colour, name in ((0, REAL, "real"), (1, FAKE, "synthetic")):
        chosen = method.scores[labels == label]
        axes.hist(
            chosen, bins, weights=np.full(len(chosen), 100 / len(chosen)), color=colour, alpha=0.5, label=name
        )
    for cut, style, name in zip(method.cuts, ("--", "-"), ("suspicious from", "synthetic from"), strict=True):
        axes.axvline(cut, color="#1c1f23", lw=1.2, ls=style, label=f"{name} {cut:.3f}")
    axes.set(xlabel="score", ylabel="% of the class", xlim=(0, 1))
    axes.legend(loc="best")
    return figure


def _reliability(found: Evaluation) -> Figure:
    """Stated probability against observed share, both classes weighed alike."""
    figure, (axes,) = _canvas(4.4, 4.2)
    method, labels = found.methods[ENSEMBLE], found.panel.labels
    weights = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    bins = np.minimum((method.scores * 10).astype(int), 9)
    mass = np.bincount(bins, weights, minlength=10)
    held = mass > 0
    stated = np.bincount(bins, weights * method.scores, minlength=10)[held] / mass[held]
    seen = np.bincount(bins, weights * labels, minlength=10)[held] / mass[held]
    axes.plot([0, 1], [0, 1], color="#8a9199", ls=":", lw=1)
    axes.plot(stated, seen, color=COLOURS[0], lw=1.2)
    axes.scatter(stated, seen, s=900 * mass[held] + 8, color=COLOURS[0], alpha=0.6)
    axes.set(xlabel="score", ylabel="share that is synthetic, at even odds", xlim=(0, 1), ylim=(-0.04, 1.04))
    return figure


def _robustness(found: Evaluation) -> Figure:
    """Macro AUC of each method after each change; below, what the ensemble keeps and finds."""
    changes = list(dict.fromkeys(row.change for row in found.robust))
    figure, (left, right) = _canvas(11, 4.2, columns=2)
    places = np.arange(len(changes))
    for colour, name in zip(_cycle(len(found.methods)), found.methods, strict=True):
        rows = [row for row in found.robust if row.method == name]
        width = 2.4 if name == ENSEMBLE else 1.2
        left.plot(places, [row.macro_auc for row in rows], "o-", ms=3, color=colour, lw=width, label=name)
        if name == ENSEMBLE:
            right.plot(places, [row.real_accuracy for row in rows], "o-", ms=3, color=REAL, label="real kept")
            right.plot(
                places, [row.fake_accuracy for row in rows], "o-", ms=3, color=FAKE, label="synthetic found"
            )
            right.plot(
                places,
                [row.real_flips for row in rows],
                "o:",
                ms=3,
                color="#8a9199",
                label="real verdicts changed",
            )
    left.set(ylabel="macro AUC")
    right.set(ylabel="share, ensemble at its thresholds", ylim=(-0.02, 1.02))
    for axes in (left, right):
        axes.set_xticks(
            places, ["untouched" if one == UNTOUCHED else one for one in changes], rotation=60, ha="right"
        )
        axes.legend(loc="best", fontsize=8)
    return figure


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]
