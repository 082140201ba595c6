"""One HTML file that a stranger can read: words first, then tables and plots, all inside the file."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from models.evaluation.contenders import ENSEMBLE
from models.evaluation.plots import draw_all
from models.evaluation.run import Evaluation
from models.evaluation.terminal import number, starred, wide

_TEMPLATE = Path(__file__).with_name("page.html")
FEW = 30  # pictures of a kind, below which its figure says little
NEAR = 0.05  # an AUC this close to that of the file facts shows nothing of its own


def write_page(found: Evaluation, out: Path) -> Path:
    """<out>/report.html and <out>/plots/*.svg; returns the report. It asks for nothing over the network."""
    plots = draw_all(found)
    (out / "plots").mkdir(parents=True, exist_ok=True)
    for name, svg in plots.items():
        (out / "plots" / f"{name}.svg").write_text(svg, encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "wide": wide}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(**_shown(found), plots={name: _uri(svg) for name, svg in plots.items()})
    (out / "report.html").write_text(page, encoding="utf-8")
    return out / "report.html"


def _uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _shown(found: Evaluation) -> dict[str, Any]:
    trained = found.trained_on
    return {
        "found": found,
        "manifest": found.bundle.manifest,
        "names": {name: starred(name, trained) for name in (*found.panel.generators, *_sources(found))},
        "auc_of": {
            name: {row.generator: row.figures.auc for row in table.generators}
            for name, table in found.tables.items()
        },
        "flips": {row.source: row for row in found.flips},
        "robust": [row for row in found.robust if row.method == ENSEMBLE],
        "reals": len(found.panel.reals),
        "fakes": len(found.panel.labels) - len(found.panel.reals),
        "trained": trained,
        "cautions": cautions(found),
        "made": f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
    }


def _sources(found: Evaluation) -> list[str]:
    return [row.source for row in found.fused.sources]


def cautions(found: Evaluation) -> list[str]:
    """What keeps these figures from meaning more, in plain sentences. Empty where nothing was noticed."""
    rows, sources = found.fused.generators, found.fused.sources
    small = [row.generator for row in rows if row.fakes < FEW] + [
        row.source for row in sources if row.reals < FEW
    ]
    leaks = [row.generator for row in rows if row.facts_auc > row.figures.auc.value - NEAR]
    seen = [row.generator for row in rows if row.generator in found.trained_on]
    notes = [
        (
            seen,
            "The bundle was trained on these generators, so their rows say nothing about unseen ones",
        ),
        (
            leaks,
            "File facts alone (size, aspect, bytes a pixel) tell these about as well as the detectors do",
        ),
        (
            small,
            f"Fewer than {FEW} pictures stand behind each of these rows; read the interval, not the figure",
        ),
    ]
    said = [f"{text}: {', '.join(names)}." for names, text in notes if names]
    if found.settings.short_side is None:
        said.append(
            "Pictures were judged at the size that they have, so size may have told the classes apart."
        )
    return said
