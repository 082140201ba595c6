"""The demonstration's report: one HTML file with everything in it, thumbnails included."""

import base64
import io
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, ImageOps

from models.bundle import CARD, Bundle
from stream.demo_results import VERDICTS, Item, Results
from stream.policy import Thresholds
from stream.queries import NamedQuery

_TEMPLATE = Path(__file__).with_name("report.html")
_THUMB = 320  # pixels of the longer side
_COLUMNS = 90  # of the chart: dots of one column are put above each other
_LABELS = {"ai": "AI pictures", "real": "photographs", None: "other files"}
_WARNS = re.compile(r"not reliable|limit|caution|caveat|out of scope|not for", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bar:
    """One detector on one picture: its raw logit and the calibrated probability of synthetic."""

    name: str
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the judged pictures with one label were flagged, with a 95 % interval."""

    words: str
    flagged: int
    count: int
    low: float
    high: float


def write_report(
    file: Path, results: Results, parts: Mapping[str, str], limits: Thresholds, queries: list[NamedQuery]
) -> Path:
    """Write the report and return its path. It asks for nothing over the network."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        results=results,
        parts=parts,
        limits=limits,
        queries=queries,
        verdicts=VERDICTS,
        caution=caution(results.bundle),
        table=confusion(results.items),
        shares=[share(results, label) for label in ("ai", "real") if results.share_flagged(label)[1]],
        histories=histories(results.items),
        dots=dots(results.items),
        cards=[card(item, results.bundle) for item in results.items],
        totals=results.totals,
        made=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def caution(bundle: Bundle) -> list[str]:
    """What the bundle's card says about its limits, a paragraph or list item each, in its own words."""
    path = bundle.path / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    sections = re.split(r"^#+ +(.+)$", text, flags=re.MULTILINE)  # before, heading, body, heading, body, ...
    titled = dict(zip(sections[1::2], sections[2::2], strict=True))
    chosen = next((body for heading, body in titled.items() if _WARNS.search(heading)), None)
    body = chosen if chosen is not None else next(iter(titled.values()), text)
    blocks = re.split(r"\n\s*\n|\n(?=[-*] )", body.strip())
    plain = [" ".join(re.sub(r"^[-*] |[*`]", "", block.strip()).split()) for block in blocks]
    return [block for block in plain if block and not block.startswith("|")]


def confusion(items: list[Item]) -> list[tuple[str, list[int]]]:
    """Rows of label and how many got each verdict."""
    rows = []
    for label, words in _LABELS.items():
        found = [item.verdict for item in items if item.sent.picture.label == label]
        if found:
            rows.append((words, [found.count(verdict) for verdict in VERDICTS]))
    return rows


def share(results: Results, label: str) -> Share:
    """The flagged share of one label with its Wilson interval (Wilson 1927), which holds for small counts."""
    flagged, count = results.share_flagged(label)
    z, p = 1.96, flagged / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Share(str(_LABELS[label]), flagged, count, max(0.0, middle - half), min(1.0, middle + half))


def histories(items: list[Item]) -> list[str]:
    """What else differs between the labels: file formats and sizes. Empty with fewer than two labels."""
    found = []
    for label in ("ai", "real"):
        rows = [i.row for i in items if i.sent.picture.label == label and i.row["width"] is not None]
        if rows:
            formats = ", ".join(
                f"{count} {name}" for name, count in Counter(r["format"] for r in rows).items()
            )
            side = statistics.median(min(row["width"], row["height"]) for row in rows)
            found.append(f"{_LABELS[label]}: {formats}, median shorter side {side:g} pixels")
    return found if len(found) > 1 else []


def dots(items: list[Item]) -> list[dict[str, Any]]:
    """A row of dots a label: score, a lane that keeps dots apart, name and verdict."""
    rows = []
    for label, words in _LABELS.items():
        judged = [i for i in items if i.sent.picture.label == label and i.row["score"] is not None]
        points, taken = [], dict[int, int]()
        for item in sorted(judged, key=lambda item: item.row["score"]):
            column = round(item.row["score"] * _COLUMNS)
            lane = taken[column] = taken.get(column, -1) + 1
            step = (lane + 1) // 2 * (1 if lane % 2 else -1)
            points.append({"x": item.row["score"], "lane": step, "item": item})
        if points:
            rows.append({"words": words, "points": points, "reach": max(abs(p["lane"]) for p in points)})
    return rows


def card(item: Item, bundle: Bundle) -> dict[str, Any]:
    """One picture beside its scores."""
    return {"item": item, "bars": bars(item, bundle), "thumb": thumbnail(item)}


def bars(item: Item, bundle: Bundle) -> list[Bar]:
    """The detectors of one picture; none where it was not judged."""
    row, found = item.row, []
    for detector in bundle.manifest.detectors:
        logit = row.get(detector.name, (row["extra"] or {}).get(detector.name))
        if logit is not None:
            odds = detector.slope * logit + detector.intercept
            probability = 1 / (1 + math.exp(-max(-50.0, min(50.0, odds))))
            found.append(Bar(detector.name, logit, probability))
    return found


def thumbnail(item: Item) -> str | None:
    """A small JPEG as a data URI; None where the worker could not decode the file either."""
    if item.row["width"] is None:
        return None
    with Image.open(io.BytesIO(item.sent.picture.data)) as picture:
        picture.draft("RGB", (_THUMB, _THUMB))
        small = ImageOps.exif_transpose(picture).convert("RGBA")
    small.thumbnail((_THUMB, _THUMB))
    white = Image.new("RGBA", small.size, "white")
    stream = io.BytesIO()
    Image.alpha_composite(white, small).convert("RGB").save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
