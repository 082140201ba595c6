"""Proves of a topic that nothing was lost: every record that was acknowledged has an outcome.

A record at or above the group's committed offset is in flight. Below it, each upload that the record
announces must have a verdict, or a dead letter from that very place. The verdict is looked for by
tenant and upload_id, not by offset: an event that came twice makes no second row.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stream.events import Upload, parse_record
from stream.kafka import Record, beginning_offsets, committed_offsets, end_offsets, read_range
from stream.settings import Settings

_CHUNK = 1000  # records looked up at once

Key = tuple[str, str]  # tenant, upload_id


class Outcomes(Protocol):
    """Where outcomes are looked up; stream.queries.History is one."""

    def verdict_counts(self, uploads: Iterable[Key]) -> dict[Key, int]: ...

    def letters(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, set[str]]: ...


@dataclass(frozen=True, slots=True)
class Gap:
    """An acknowledged upload without an outcome: lost. Tenant and id are None where it cannot be read."""

    partition: int
    offset: int
    tenant: str | None
    upload_id: str | None


@dataclass(slots=True)
class Tally:
    """One partition: uploads = verdicts + dead_letters + in_flight + len(gaps)."""

    partition: int
    start: int  # first offset looked at
    stop: int  # the one after the last
    committed: int  # below it, everything must have an outcome
    records: int = 0  # stop - start, less what compaction or transactions left out
    empty: int = 0  # records that announce no upload, such as deletions
    uploads: int = 0
    verdicts: int = 0
    dead_letters: int = 0
    in_flight: int = 0
    gaps: list[Gap] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, a tally a partition."""

    topic: str
    group: str
    partitions: list[Tally]
    doubled: list[Key]  # uploads with more than one row from the same bundle

    @property
    def gaps(self) -> list[Gap]:
        return [gap for tally in self.partitions for gap in tally.gaps]

    @property
    def ok(self) -> bool:
        """No upload was lost and none was stored twice."""
        return not self.gaps and not self.doubled


@dataclass(frozen=True, slots=True)
class _Part:
    offset: int
    key: Key | None  # None where the record cannot be read
    item: str  # what a dead letter calls this part of its record


async def audit(settings: Settings, outcomes: Outcomes, topic: str, first: int, last: int | None) -> Report:
    """Look at the offsets first..last (None: to the end) of every partition.

    Raises Outage, or ConfigError where there is no such topic.
    """
    # Committed before ends: what is acknowledged meanwhile counts as in flight, never as a gap.
    committed = await committed_offsets(settings, topic)
    begins, ends = await beginning_offsets(settings, topic), await end_offsets(settings, topic)
    tallies, doubled = [], set[Key]()
    for partition, end in sorted(ends.items()):
        start = max(first, begins[partition])
        stop = max(start, end if last is None else min(end, last + 1))
        tally = Tally(partition, start, stop, committed.get(partition, 0))
        async for records in _chunks(read_range(settings, topic, partition, start, stop)):
            doubled |= examine(tally, topic, records, outcomes)
        tallies.append(tally)
    return Report(topic, settings.group, tallies, sorted(doubled))


def examine(tally: Tally, topic: str, records: list[Record], outcomes: Outcomes) -> set[Key]:
    """Add records of one partition to its tally; the uploads among them that have more than one row."""
    tally.records += len(records)
    parts = list(_parts(tally, records))
    tally.uploads += len(parts)
    settled = [part for part in parts if part.offset < tally.committed]
    tally.in_flight += len(parts) - len(settled)
    counts = outcomes.verdict_counts(part.key for part in settled if part.key)
    missing = [part for part in settled if part.key not in counts]
    tally.verdicts += len(settled) - len(missing)
    letters = outcomes.letters(topic, tally.partition, {part.offset for part in missing})
    for part in missing:
        if part.item in letters.get(part.offset, set()):
            tally.dead_letters += 1
        else:
            tally.gaps.append(Gap(tally.partition, part.offset, *(part.key or (None, None))))
    return {key for key, rows in counts.items() if rows > 1}


def _parts(tally: Tally, records: Iterable[Record]) -> Iterator[_Part]:
    for record in records:
        found = parse_record(record.value)
        tally.empty += not found
        for index, item in enumerate(found):
            if isinstance(item, Upload):
                yield _Part(record.offset, (item.tenant, item.upload_id), item.upload_id)
            else:
                yield _Part(record.offset, None, f"#{index}")


async def _chunks(records: AsyncIterator[Record]) -> AsyncIterator[list[Record]]:
    chunk: list[Record] = []
    async for record in records:
        chunk.append(record)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
