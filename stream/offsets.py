"""Which offset of each partition may be committed while records finish out of order. No input or output here.

The contiguous watermark: everything below it has its outcome. Kafka hands out the offsets of a
partition in ascending order, with holes (compaction, transaction markers), so the watermark is
the lowest offset in flight, or the one after the last delivered where nothing is in flight.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Partition = tuple[str, int]  # topic, number


@dataclass(slots=True, eq=False)
class Ticket:
    """One delivery of one record. A ticket of an earlier assignment counts for nothing."""

    partition: Partition
    offset: int
    parts: int  # uploads of the record that are still without an outcome


@dataclass(slots=True)
class _Progress:
    """One assigned partition. `flying` ascends by offset, as records are delivered in that order."""

    flying: dict[int, Ticket] = field(default_factory=dict)
    next: int | None = None  # the offset after the last one delivered
    committed: int | None = None  # what we have committed in this assignment

    @property
    def watermark(self) -> int | None:
        return next(iter(self.flying), self.next)


class OffsetTracker:
    """Watermarks of the partitions that are assigned to us. For one thread."""

    def __init__(self) -> None:
        self._partitions: dict[Partition, _Progress] = {}

    def assign(self, partitions: Iterable[Partition]) -> None:
        """These partitions are ours now, from their committed offsets on."""
        for partition in partitions:
            self._partitions[partition] = _Progress()

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """These partitions are no longer ours; what is in flight of them changes nothing any more."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def begin(self, partition: Partition, offset: int, parts: int) -> Ticket | None:
        """A record was delivered that holds `parts` uploads (none: it is done at once).

        None where the partition is not ours: the record must not be worked on. A record that
        comes again (the consumer went back) is worked on again and everything from it on
        counts as not delivered yet: the store knows repeats, a skipped record nobody knows.
        """
        progress = self._partitions.get(partition)
        if progress is None:
            return None
        if progress.next is not None and offset < progress.next:
            progress.flying = {at: ticket for at, ticket in progress.flying.items() if at < offset}
        ticket = Ticket(partition, offset, parts)
        progress.next = offset + 1
        if parts > 0:
            progress.flying[offset] = ticket
        return ticket

    def part_done(self, ticket: Ticket) -> None:
        """One upload of the record has its durable outcome."""
        ticket.parts -= 1
        progress = self._partitions.get(ticket.partition)
        if ticket.parts <= 0 and progress and progress.flying.get(ticket.offset) is ticket:
            del progress.flying[ticket.offset]

    def in_flight(self, partitions: Iterable[Partition]) -> int:
        """Records of these partitions that have no outcome yet."""
        known = (self._partitions.get(partition) for partition in partitions)
        return sum(len(progress.flying) for progress in known if progress)

    def watermark(self, partition: Partition) -> int | None:
        """The offset below which everything has its outcome; None where nothing was delivered yet."""
        progress = self._partitions.get(partition)
        return progress.watermark if progress else None

    def span(self, partition: Partition) -> int:
        """Offsets between the watermark and the last delivered one: what a crash now would repeat."""
        progress = self._partitions.get(partition)
        if progress is None or progress.next is None or progress.watermark is None:
            return 0
        return progress.next - progress.watermark

    def committable(self, partitions: Iterable[Partition] | None = None) -> dict[Partition, int]:
        """The offset to commit (the next one to read) of every partition where it has changed."""
        chosen = self._partitions if partitions is None else self._partitions.keys() & set(partitions)
        marks = ((partition, self._partitions[partition]) for partition in chosen)
        return {
            partition: progress.watermark
            for partition, progress in marks
            if progress.watermark is not None and progress.watermark != progress.committed
        }

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has accepted these offsets."""
        for partition, offset in offsets.items():
            if partition in self._partitions:
                self._partitions[partition].committed = offset
