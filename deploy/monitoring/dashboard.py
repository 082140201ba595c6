"""The Grafana dashboard as a list of what it shows; run as a program this writes grafana.json.

Import the file in Grafana (10 or newer) and choose the Prometheus that scrapes the workers.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("grafana.json")
JOB = 'job=~"$job"'
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its title, the unit of its axis, and PromQL with the legend of each line."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    about: str = ""


def rate(metric: str, by: str, window: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate({metric}{{{JOB}}}[{window}]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    kept = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', kept)})"


def mean(histogram: str) -> str:
    return f"{rate(f'{histogram}_sum', 'job')} / {rate(f'{histogram}_count', 'job')}"


def judged(verdicts: str) -> str:
    return f'sum(rate(pixassay_verdicts_total{{{JOB},verdict=~"{verdicts}"}}[1h]))'


FLAGGED = f"{judged('suspicious|synthetic')} / {judged('authentic|suspicious|synthetic')}"
FULL = " / ".join(f"sum by (step) (pixassay_step_{what}{{{JOB}}})" for what in ("uploads", "places"))


ROWS: dict[str, tuple[Panel, ...]] = {
    "What comes out": (
        Panel("Verdicts", "reqps", ((rate("pixassay_verdicts_total", "verdict"), "{{verdict}}"),)),
        Panel("Share of flagged pictures", "percentunit", ((FLAGGED, "1 h"),)),
        Panel(
            "Dead letters", "reqps", ((rate("pixassay_dead_letters_total", "reason") + " > 0", "{{reason}}"),)
        ),
        Panel("Reasons", "reqps", ((rate("pixassay_reasons_total", "reason") + " > 0", "{{reason}}"),)),
        Panel(
            "Scores, quantiles of the last hour",
            "none",
            (
                *(
                    (f"histogram_quantile({share}, {rate('pixassay_score_bucket', 'le', '1h')})", f"{share}")
                    for share in (0.5, 0.9, 0.99)
                ),
            ),
        ),
        Panel(
            "Score drift",
            "none",
            ((f"pixassay_score_drift{{{JOB}}}", "{{instance}}"),),
            "Population stability index against the bundle's photographs; over 0.25 the alert fires.",
        ),
    ),
    "Whether it keeps up": (
        Panel(
            "Lag",
            "short",
            (
                (f"sum(pixassay_lag_records{{{JOB}}})", "all"),
                (f"max(pixassay_lag_records{{{JOB}}})", "the worst partition"),
            ),
        ),
        Panel(
            "Waiting",
            "short",
            (
                (f"sum(pixassay_in_flight{{{JOB}}})", "in flight"),
                (f"sum(pixassay_aside{{{JOB}}})", "aside: their bucket fails"),
                (f"sum(pixassay_paused_partitions{{{JOB}}})", "partitions paused"),
            ),
        ),
        Panel(
            "Parts that are away",
            "short",
            ((f"max by (part) (pixassay_away{{{JOB}}})", "{{part}}"),),
            "1 while somebody waits for it.",
        ),
        Panel(
            "How full the steps are",
            "percentunit",
            ((FULL, "{{step}}"),),
            "The last full step on the way is the slow one: those before it fill up behind it.",
        ),
        Panel("Failed calls", "reqps", ((rate("pixassay_retries_total", "part") + " > 0", "{{part}}"),)),
        Panel(
            "Workers",
            "short",
            (
                (f"sum(pixassay_ready{{{JOB}}})", "ready"),
                (f"count(pixassay_ready{{{JOB}}})", "scraped"),
                (f"count by (bundle, engine) (pixassay_worker_info{{{JOB}}})", "{{bundle}} on {{engine}}"),
            ),
        ),
    ),
    "What takes time": (
        Panel("Steps, 95 %", "s", ((quantile(0.95, "pixassay_step_seconds", "step"), "{{step}}"),)),
        Panel(
            "Record to decision",
            "s",
            tuple((quantile(share, "pixassay_upload_seconds"), f"{share}") for share in (0.5, 0.95, 0.99)),
        ),
        Panel("Engine, one batch, 95 %", "s", ((quantile(0.95, "pixassay_engine_seconds"), "95 %"),)),
        Panel(
            "Batches, mean",
            "short",
            ((mean("pixassay_batch_frames"), "frames"), (mean("pixassay_insert_rows"), "rows")),
        ),
        Panel(
            "CPU of the workers, without their decoders",
            "percentunit",
            ((rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Memory of the workers, without their decoders",
            "bytes",
            ((f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}, "panels": []}
        )
        for number, panel in enumerate(row):
            line, column = divmod(number, _COLUMNS)
            place = {"x": column * _WIDTH, "y": top + 1 + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            panels.append(_graph(panel, place))
        top += 1 + _HEIGHT * -(-len(row) // _COLUMNS)
    return {
        "uid": "pixassay",
        "title": "pixassay",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_sources(), _jobs()]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def _graph(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for number, (query, legend) in enumerate(panel.lines)
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }


def _sources() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _jobs() -> dict[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(pixassay_ready, job)", "refId": "job"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def text() -> str:
    """grafana.json, whole."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
