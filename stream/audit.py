"""Proves of a topic that nothing was lost: every record that was acknowledged has an outcome.

A record at or above the group's committed offset is in flight. Below it, each upload that the record
announces must have a verdict, or a dead letter from that very place, or have been erased. The verdict is
looked for by tenant and upload_id, not by offset: an event that came twice makes no second row.

With `flags`, whose newest verdict is suspicious or synthetic must stand on the review topic under the
verdict's id. Only the newest: a compacted topic keeps one message an upload.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import orjson

from stream.events import Upload, parse_record
from stream.kafka import Record, beginning_offsets, committed_offsets, end_offsets, read_range
from stream.settings import Settings

_CHUNK = 1000  # records looked up at once

Key = tuple[str, str]  # tenant, upload_id


class Outcomes(Protocol):
    """Where outcomes are looked up; stream.ledger.Ledger is one."""

    def verdict_counts(self, uploads: Iterable[Key]) -> dict[Key, int]: ...

    def letters(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, set[str]]: ...

    def erased(self, uploads: Iterable[Upload]) -> set[Key]: ...

    def flagged(self, uploads: Iterable[Key]) -> dict[Key, str]: ...


@dataclass(frozen=True, slots=True)
class Gap:
    """An acknowledged upload without an outcome: lost. Tenant and id are None where it cannot be read."""

    partition: int
    offset: int
    tenant: str | None
    upload_id: str | None


@dataclass(frozen=True, slots=True)
class Unflagged:
    """A flagged verdict that never reached the review topic: nobody was asked to look."""

    partition: int  # of the upload's record
    offset: int
    tenant: str
    upload_id: str
    verdict_id: str


@dataclass(slots=True)
class Tally:
    """One partition: uploads = verdicts + dead_letters + erased + in_flight + len(gaps)."""

    partition: int
    start: int  # first offset looked at
    stop: int  # the one after the last
    committed: int  # below it, everything must have an outcome
    records: int = 0  # stop - start, less what compaction or transactions left out
    empty: int = 0  # records that announce no upload, such as deletions
    uploads: int = 0
    verdicts: int = 0
    dead_letters: int = 0
    erased: int = 0  # by `pixassay db erase`: without an outcome on purpose
    in_flight: int = 0
    gaps: list[Gap] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, a tally a partition."""

    topic: str
    group: str
    partitions: list[Tally]
    doubled: list[Key]  # uploads with more than one row from the same bundle
    flagged: int | None = None  # uploads whose newest verdict is flagged; None: was not looked at
    unflagged: list[Unflagged] = field(default_factory=list)  # those of them that reached no reviewer

    @property
    def gaps(self) -> list[Gap]:
        return [gap for tally in self.partitions for gap in tally.gaps]

    @property
    def ok(self) -> bool:
        """No upload was lost, none was stored twice, and no flag that was looked for is missing."""
        return not self.gaps and not self.doubled and not self.unflagged


@dataclass(frozen=True, slots=True)
class Part:
    """One upload that a record announces, or should have."""

    offset: int
    upload: Upload | None  # None where the record cannot be read
    item: str  # what a dead letter calls this part of its record

    @property
    def key(self) -> Key | None:
        return (self.upload.tenant, self.upload.upload_id) if self.upload else None


async def audit(
    settings: Settings, outcomes: Outcomes, topic: str, first: int, last: int | None, *, flags: bool = False
) -> Report:
    """Look at the offsets first..last (None: to the end) of every partition.

    `flags`: look for the flagged ones among them on the review topic too, which is read whole.
    Raises Outage, or ConfigError where there is no such topic.
    """
    # Committed before ends: what is acknowledged meanwhile counts as in flight, never as a gap.
    committed = await committed_offsets(settings, topic)
    begins, ends = await beginning_offsets(settings, topic), await end_offsets(settings, topic)
    tallies, doubled, waiting = [], set[Key](), dict[str, Unflagged]()
    for partition, end in sorted(ends.items()):
        start = max(first, begins[partition])
        stop = max(start, end if last is None else min(end, last + 1))
        tally = Tally(partition, start, stop, committed.get(partition, 0))
        async for records in _chunks(read_range(settings, topic, partition, start, stop)):
            parts = list(parts_of(tally, records))
            doubled |= examine(tally, topic, parts, outcomes)
            if flags:
                waiting |= _flagged(tally, parts, outcomes)
        tallies.append(tally)
    report = Report(topic, settings.group, tallies, sorted(doubled))
    if not flags:
        return report
    flagged = len(waiting)
    await _strike_published(settings, waiting)
    return replace(report, flagged=flagged, unflagged=list(waiting.values()))


def examine(tally: Tally, topic: str, parts: list[Part], outcomes: Outcomes) -> set[Key]:
    """Add parts of one partition's records to its tally; those uploads that have more than one row."""
    tally.uploads += len(parts)
    settled = [part for part in parts if part.offset < tally.committed]
    tally.in_flight += len(parts) - len(settled)
    counts = outcomes.verdict_counts(part.key for part in settled if part.key)
    missing = [part for part in settled if part.key not in counts]
    tally.verdicts += len(settled) - len(missing)
    letters = outcomes.letters(topic, tally.partition, {part.offset for part in missing})
    erased = outcomes.erased(part.upload for part in missing if part.upload)
    for part in missing:
        if part.item in letters.get(part.offset, set()):
            tally.dead_letters += 1
        elif part.key in erased:
            tally.erased += 1
        else:
            tally.gaps.append(Gap(tally.partition, part.offset, *(part.key or (None, None))))
    return {key for key, rows in counts.items() if rows > 1}


def _flagged(tally: Tally, parts: Iterable[Part], outcomes: Outcomes) -> dict[str, Unflagged]:
    """verdict_id -> the flag, of what is acknowledged: in flight, the message may still be on its way."""
    places = {part.key: part for part in parts if part.key and part.offset < tally.committed}
    found = outcomes.flagged(key for key in places if key)
    return {
        verdict_id: Unflagged(tally.partition, places[key].offset, *key, verdict_id)
        for key, verdict_id in found.items()
    }


async def _strike_published(settings: Settings, waiting: dict[str, Unflagged]) -> None:
    """Take out of `waiting` whatever stands on the review topic."""
    topic = settings.topic_review
    for partition, end in sorted((await end_offsets(settings, topic)).items()):
        async for record in read_range(settings, topic, partition, 0, end):
            waiting.pop(_verdict_id(record.value), None)


def _verdict_id(message: bytes | None) -> str:
    """Empty where there is none: a tombstone, or a record of somebody else's."""
    try:
        body = orjson.loads(message or b"null")
    except orjson.JSONDecodeError:
        return ""
    return str(body.get("verdict_id", "")) if isinstance(body, dict) else ""


def parts_of(tally: Tally, records: Iterable[Record]) -> Iterator[Part]:
    """What the records announce; the tally counts the records."""
    for record in records:
        tally.records += 1
        found = parse_record(record.value)
        tally.empty += not found
        for index, item in enumerate(found):
            if isinstance(item, Upload):
                yield Part(record.offset, item, item.upload_id)
            else:
                yield Part(record.offset, None, f"#{index}")


async def _chunks(records: AsyncIterator[Record]) -> AsyncIterator[list[Record]]:
    chunk: list[Record] = []
    async for record in records:
        chunk.append(record)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
