"""What a campaign came to: counted in the database and on the topics, past every proxy."""

import os
import platform
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from stream.settings import Settings
from tests.faults.stage import Stage
from tests.harness.seen import Database, read_topic
from tests.harness.story import audited
from tests.harness.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Result:
    """All counts are of this campaign. `ok`: nothing lost, doubled, unflagged, and no worker gave up."""

    broker: str
    seed: int
    uploads: int  # different ones that the broker acknowledged
    records: int  # on the topic, with repeats and bad ones
    bad: int  # records that were none, sent on purpose
    lost: int  # uploads without a row, and acknowledged records without an outcome
    doubled: int  # uploads with more than one row
    unflagged: int  # flagged rows without a message on the review topic
    flagged: int
    reviews: int  # messages on the review topic, repeats included
    uncommitted: int  # records that were still in flight when the last worker had left
    kills: int
    outages: int
    changes: int  # workers that joined or left in order
    died: list[str]  # workers that ended though nobody had asked them to, or left with an error
    kinds: dict[str, int]
    recovery_s: float  # from the end of the last fault to the last row
    seconds: float

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.unflagged or self.uncommitted or self.died)


def count(settings: Settings, stage: Stage, sent: Traffic) -> dict[str, Any]:
    """The fields of a Result that are found in the database and on the topics."""
    database = Database(stage.postgres, "pixassay")
    rows, flagged, audit = database.uploads(), database.flagged(), audited(settings)
    reviews = [review["verdict_id"] for review in read_topic(settings.kafka_bootstrap, settings.topic_review)]
    tallies = Counter[str]()
    for tally in audit["partitions"]:
        tallies.update({name: tally[name] for name in ("records", "in_flight", "dead_letters")})
        tallies["gaps"] += len(tally["gaps"])
    letters_missing = max(0, sent.bad - tallies["dead_letters"])
    return {
        "uploads": len(sent.uploads),
        "records": tallies["records"],
        "bad": sent.bad,
        "lost": len(sent.uploads - rows.keys()) + letters_missing + tallies["gaps"],
        "doubled": sum(number > 1 for number in rows.values()) + len(audit["doubled"]),
        "unflagged": max(len(flagged - set(reviews)), len(audit["unflagged"])),
        "flagged": len(flagged),
        "reviews": len(reviews),
        "uncommitted": tallies["in_flight"],
    }


def as_json(result: Result) -> dict[str, Any]:
    """For --json: one object."""
    return {**asdict(result), "ok": result.ok}


def as_markdown(result: Result, command: str) -> str:
    """For --report: a section of docs/reliability.md."""
    when = datetime.now(UTC)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux"
    facts = [
        ("uploads acknowledged by the broker", f"{result.uploads:,} ({result.records:,} records)"),
        ("**lost**", f"**{result.lost}**"),
        ("**doubled**", f"**{result.doubled}**"),
        ("**flagged without a review message**", f"**{result.unflagged}** of {result.flagged:,}"),
        ("workers killed (kill -9)", str(result.kills)),
        ("outages", str(result.outages)),
        ("workers added or taken away", str(result.changes)),
        ("workers that gave up by themselves", str(len(result.died))),
        ("records still in flight after the last worker left", str(result.uncommitted)),
        ("review messages, repeats included", f"{result.reviews:,}"),
        ("from the end of the last fault to the last row", f"{result.recovery_s:.0f} s"),
        ("whole campaign", f"{result.seconds:.0f} s"),
    ]
    kinds = ", ".join(f"{name} x{number}" for name, number in sorted(result.kinds.items()))
    lines = [f"| {name} | {value} |" for name, value in facts]
    return "\n".join(
        [
            f"## {result.broker}, seed {result.seed}",
            "",
            f"    {command}",
            "",
            f"{when:%Y-%m-%d}, {machine}.",
            "",
            *("| | |", "| --- | --- |", *lines),
            "",
            f"Outages: {kinds}.",
            "",
        ]
    )
