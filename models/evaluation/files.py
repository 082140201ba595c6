"""An evaluation for machines: one JSON document, and a CSV a table."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation.figures import Figures
from models.evaluation.run import Evaluation
from models.evaluation.tables import Table
from models.metrics import Interval

SCHEMA = "pixassay.evaluation/1"


def document(found: Evaluation) -> dict[str, Any]:
    """Everything but the single scores. What cannot be computed is null: JSON has no nan."""
    manifest, settings, labels = found.bundle.manifest, found.settings, found.panel.labels
    whole = {
        "schema": SCHEMA,
        "bundle": {"id": found.bundle.id, "name": manifest.name, "tower": manifest.tower},
        "policy": manifest.policy.model_dump(mode="json"),
        "settings": {
            "engine": settings.engine,
            "short_side": settings.short_side,
            "changes": list(settings.grid or {}),
            "draws": settings.draws,
            "seed": settings.seed,
        },
        "pictures": {"real": int((labels == 0).sum()), "synthetic": int(labels.sum())},
        "trained_on": sorted(found.trained_on),
        "summary": found.fused.summary,
        "methods": [asdict(row) for row in found.comparison],
        "tables": {name: _table(table) for name, table in found.tables.items()},
        "strata": [asdict(row) for row in found.strata],
        "flips_jpeg90": [asdict(row) for row in found.flips],
        "robustness": [asdict(row) for row in found.robust],
        "residual_correlation": {"members": list(found.members), "matrix": found.correlation.tolist()},
    }
    finite: dict[str, Any] = _finite(whole)
    return finite


def _table(table: Table) -> dict[str, Any]:
    return {
        "summary": table.summary,
        "generators": [asdict(row) for row in table.generators],
        "sources": [asdict(row) for row in table.sources],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_files(found: Evaluation, out: Path) -> None:
    """metrics.json, and as CSV: methods, generators and sources (of every method), strata, flips,
    robustness, correlation and the single scores.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(found), indent=2, allow_nan=False)
    (out / "metrics.json").write_text(text + "\n", encoding="utf-8")
    tables = {
        "methods": map(flat, found.comparison),
        "generators": _of_each(found, "generators"),
        "sources": _of_each(found, "sources"),
        "strata": map(flat, found.strata),
        "flips": map(flat, found.flips),
        "robustness": map(flat, found.robust),
        "correlation": _correlation(found),
        "scores": _scores(found),
    }
    for name, rows in tables.items():
        _csv(out / f"{name}.csv", rows)


def flat(row: Any) -> dict[str, Any]:
    """A row as one level of columns: an interval becomes three."""
    cells: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Figures):
            cells |= flat(value)
        elif isinstance(value, Interval):
            cells |= {
                field.name: value.value,
                f"{field.name}_low": value.low,
                f"{field.name}_high": value.high,
            }
        else:
            assert not is_dataclass(value)
            cells[field.name] = value
    return cells


def _of_each(found: Evaluation, rows: str) -> Iterator[dict[str, Any]]:
    for name, table in found.tables.items():
        yield from ({"method": name, **flat(row)} for row in getattr(table, rows))


def _correlation(found: Evaluation) -> Iterator[dict[str, Any]]:
    for name, row in zip(found.members, found.correlation.tolist(), strict=True):
        yield {"member": name, **dict(zip(found.members, row, strict=True))}


def _scores(found: Evaluation) -> Iterator[dict[str, Any]]:
    for index, picture in enumerate(found.panel.pictures):
        named = {"path": picture.path, "label": picture.label, "generator": picture.generator}
        scores = {name: float(method.scores[index]) for name, method in found.methods.items()}
        yield {**named, "source": picture.source, "group": picture.group, **scores}


def _csv(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """An empty table leaves no file."""
    listed = list(rows)
    if not listed:
        return
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(listed[0]))
        writer.writeheader()
        writer.writerows(listed)
