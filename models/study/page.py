"""The study's section of docs/detectors.md, written between two markers, and its check against a new run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.study.plan import ADAPT_FROM, NEVER
from models.study.results import HINDSIGHT
from models.study.variants import VARIANTS

BEGIN, END = "<!-- study: written by `make study` -->", "<!-- study: end -->"
TITLES = {
    "ensemble": "**ensemble** (non-negative stacking)",
    "mean_logits": "mean of the three calibrated logits",
    "ensemble_with_probe": "stacking with the multi-block probe as fourth member",
    **{variant.name: variant.title for variant in VARIANTS},
    "tuned_crops": "tuned tower, own head, crops",
    "tuned_mosaic": "tuned tower, own head, mosaic",
    "probe_last": "linear probe, frozen tower, last layer",
    "probe_blocks": "linear probe, frozen tower, several blocks",
    "facts": "file facts, learned on the training families",
    HINDSIGHT: "file facts, direction chosen in hindsight",
}

ROUNDING = 0.005  # an interval at an AUC of 1 has no width: processors differ in the last digits

Results = Mapping[str, Any]


def render(results: Results) -> str:
    """The section, from the figures alone."""
    sections = (_main_table(results), _difference_table(results), _sweep_table(results), _run(results))
    return "\n\n".join(sections) + "\n"


def write_page(page: Path, results: Results) -> None:
    """Replace what stands between the markers. Raises ValueError where they are missing."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN} and {END} between which the tables go")
    page.write_text(f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}", encoding="utf-8")


def outside(new: Results, documented: Results) -> list[str]:
    """Figures of a new run that lie outside the documented intervals, one sentence each."""
    found = []
    for column, row in documented["columns"].items():
        other = new["columns"][column]
        named = {"macro": (row["macro"], other["macro"]), NEVER: (row["never"], other["never"])}
        named |= {name: (row["families"][name], other["families"][name]) for name in row["families"]}
        for name, ((_, low, high), (value, *_)) in named.items():
            if not low - ROUNDING <= value <= high + ROUNDING:
                found.append(f"{column}, {name}: {value:.3f} is outside [{low:.3f}, {high:.3f}]")
    return found


def _main_table(results: Results) -> str:
    families = list(next(iter(results["columns"].values()))["families"])
    head = ["AUC on the held-out family", *families, "macro", "95 % interval", "sd of seeds", NEVER]
    lines = [_row(head), _row(["---"] * len(head))]
    for name, title in TITLES.items():
        if name in results["columns"]:
            one = results["columns"][name]
            cells = [_short(one["families"][family][0]) for family in families]
            macro, low, high = one["macro"]
            never = f"{_short(one['never'][0])} [{_short(one['never'][1])}, {_short(one['never'][2])}]"
            spread = f"{one['spread']:.3f}".lstrip("0")
            lines.append(
                _row([title, *cells, _short(macro), f"[{_short(low)}, {_short(high)}]", spread, never])
            )
    return "\n".join(lines)


def _difference_table(results: Results) -> str:
    lines = [_row(["paired difference of macro AUC", "difference", "95 % interval", ""]), _row(["---"] * 4)]
    for name, (value, low, high) in results["differences"].items():
        first, second = (TITLES[side].replace("**", "") for side in name.split(" - "))
        said = "higher" if low > 0 else "lower" if high < 0 else "no difference shown"
        lines.append(_row([f"{first} minus {second}", f"{value:+.3f}", f"[{low:+.3f}, {high:+.3f}]", said]))
    return "\n".join(lines)


def _sweep_table(results: Results) -> str:
    shares = results["sweep"]
    names = list(next(iter(shares.values()))) if shares else []
    lines = [_row(["macro AUC, first seed, adapters from", *(TITLES[name] for name in names)])]
    lines.append(_row(["---"] * (1 + len(names))))
    for share, row in shares.items():
        label = f"{float(share):.0%} of the blocks{' (as above)' if float(share) == ADAPT_FROM else ''}"
        cells = (f"{_short(v)} [{_short(low)}, {_short(high)}]" for v, low, high in row.values())
        lines.append(_row([label, *cells]))
    return "\n".join(lines) if shares else "The sweep of `adapt_from` was not run."


def _run(results: Results) -> str:
    run = results["run"]
    stages = ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in run["cpu_seconds"].items())
    total = sum(run["cpu_seconds"].values()) / 60
    return (
        f"{run['photographs']} photographs, {run['cells']} cells, {run['draws']} bootstrap draws. "
        f"CPU minutes on one thread: {total:.0f} in all ({stages}). Machine: {run['machine']}. "
        f"Date: {run['date']}. torch {run['torch']}."
    )


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _short(value: float) -> str:
    return f"{value:.3f}".lstrip("0") if value < 1 else "1.000"
