"""What the demonstration found: one item an upload, and the two files for programs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from models.bundle import Bundle
from stream.audit import Report as Audit
from stream.demo_upload import Sent
from stream.kafka import Record
from stream.queries import Row
from stream.types import FLAGGED

VERDICTS = ("authentic", "suspicious", "synthetic", "not_applicable", "unable_to_evaluate")


@dataclass(frozen=True, slots=True)
class Item:
    """One upload and its row in the database."""

    sent: Sent
    row: Row

    @property
    def verdict(self) -> str:
        return str(self.row["verdict"])

    @property
    def flagged(self) -> bool:
        return self.verdict in FLAGGED


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that the report and the files are made of."""

    run: str
    bundle: Bundle
    items: list[Item]  # in the order of upload
    letters: list[Row]
    reviews: list[Mapping[str, Any]]  # review messages, as consumed
    audit: Audit
    seconds: float  # from the first event sent to the last outcome stored

    @property
    def totals(self) -> dict[str, int]:
        """Sums over the partitions of the audit."""
        names = ("records", "uploads", "verdicts", "dead_letters", "in_flight")
        return {name: sum(getattr(tally, name) for tally in self.audit.partitions) for name in names}

    def share_flagged(self, label: str) -> tuple[int, int]:
        """Of the judged pictures with this label: how many were flagged, and how many there are."""
        judged = [item for item in self.items if item.sent.picture.label == label and _judged(item)]
        return sum(item.flagged for item in judged), len(judged)


def join(sent: Iterable[Sent], rows: Iterable[Row]) -> list[Item]:
    """Uploads with their rows, in the order of upload."""
    by_id = {row["upload_id"]: row for row in rows}
    return [Item(item, by_id[item.upload.upload_id]) for item in sent if item.upload.upload_id in by_id]


def own_messages(records: Iterable[Record], run: str) -> list[Mapping[str, Any]]:
    """The review messages of this run: a topic that was given may hold others."""
    messages = [orjson.loads(record.value or b"null") for record in records]
    return [message for message in messages if message["upload_id"].startswith(f"{run}/")]


def write_files(output: Path, results: Results) -> None:
    """verdicts.jsonl and review.jsonl."""
    output.mkdir(parents=True, exist_ok=True)
    _write(output / "verdicts.jsonl", (verdict_line(item) for item in results.items))
    _write(output / "review.jsonl", results.reviews)


def verdict_line(item: Item) -> dict[str, Any]:
    """As `pixassay score --json` prints it, plus upload_id and label."""
    row = item.row
    logits = {name: row[name] for name in ("pin_clip", "dgs_net", "masm")} | (row["extra"] or {})
    facts = {name: row[name] for name in ("format", "width", "height", "frames", "bundle", "policy")}
    return {
        "path": str(item.sent.path),
        "verdict": row["verdict"],
        "score": row["score"],
        "logits": logits,
        "reasons": list(row["reasons"]),
        **facts,
        "upload_id": row["upload_id"],
        "label": item.sent.picture.label,
    }


def _judged(item: Item) -> bool:
    return item.row["score"] is not None


def _write(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with file.open("wb") as stream:
        for line in lines:
            stream.write(orjson.dumps(line) + b"\n")
