"""The offset tracker against a model: a broker with one log a partition, workers that crash at any moment."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.offsets import OffsetTracker, Partition, Ticket

PARTITIONS: list[Partition] = [("image.uploads", 0), ("image.uploads", 1)]
P, Q = PARTITIONS


def tracker_of(*partitions: Partition) -> OffsetTracker:
    tracker = OffsetTracker()
    tracker.assign(partitions)
    return tracker


def begun(tracker: OffsetTracker, offset: int, parts: int = 1) -> Ticket:
    ticket = tracker.begin(P, offset, parts)
    assert ticket is not None
    return ticket


def test_nothing_is_committable_before_a_record() -> None:
    assert tracker_of(P).committable() == {}


def test_the_watermark_waits_for_the_lowest_record_in_flight() -> None:
    tracker = tracker_of(P)
    first, second, third = (begun(tracker, offset) for offset in (10, 11, 15))
    tracker.part_done(second)
    tracker.part_done(third)
    assert tracker.committable() == {P: 10}
    assert tracker.span(P) == 6
    tracker.part_done(first)
    assert tracker.committable() == {P: 16}
    assert tracker.span(P) == 0


def test_a_record_with_several_uploads_is_done_when_all_are() -> None:
    tracker = tracker_of(P)
    ticket = begun(tracker, 3, parts=2)
    tracker.part_done(ticket)
    assert tracker.committable() == {P: 3}
    tracker.part_done(ticket)
    assert tracker.committable() == {P: 4}


def test_a_record_without_uploads_is_done_at_once() -> None:
    tracker = tracker_of(P)
    begun(tracker, 7, parts=0)
    assert tracker.committable() == {P: 8}
    assert tracker.in_flight([P]) == 0


def test_a_commit_is_not_repeated() -> None:
    tracker = tracker_of(P)
    tracker.part_done(begun(tracker, 0))
    tracker.committed(tracker.committable())
    assert tracker.committable() == {}


def test_a_record_of_a_partition_that_is_not_ours_is_refused() -> None:
    assert tracker_of(P).begin(Q, 0, 1) is None


def test_a_ticket_of_an_earlier_assignment_does_not_finish_the_new_delivery() -> None:
    tracker = tracker_of(P)
    stale = begun(tracker, 5)
    tracker.revoke([P])
    tracker.assign([P])
    begun(tracker, 5)
    tracker.part_done(stale)
    assert tracker.committable() == {P: 5}


def test_going_back_lowers_the_watermark_and_keeps_what_lies_before() -> None:
    tracker = tracker_of(P)
    early = begun(tracker, 2)
    late = begun(tracker, 9)
    tracker.part_done(begun(tracker, 5))  # going back from 9 to 5
    tracker.part_done(late)  # its record is delivered again
    assert tracker.committable() == {P: 2}
    tracker.part_done(early)
    assert tracker.committable() == {P: 6}


@dataclass(slots=True)
class Commit:
    """A commit on its way to the broker."""

    worker: int
    offsets: dict[Partition, int]
    terms: dict[Partition, int]  # the assignments that it was made in


class Crashes(RuleBasedStateMachine):
    """Two workers share two partitions; records finish in any order; anything may be lost but the log.

    What survives a crash: the logs, the committed offsets, the outcomes. Beside it the model knows of each
    partition what its present owner was given and has not finished.
    """

    @initialize(
        logs=st.tuples(
            *[st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=16)] * 2
        )
    )
    def start(self, logs: tuple[list[tuple[int, int]], ...]) -> None:
        self.log: dict[Partition, dict[int, int]] = {}
        for partition, steps in zip(PARTITIONS, logs, strict=True):
            offset, records = 0, {}
            for gap, parts in steps:  # holes, as compaction leaves them
                offset += gap
                records[offset] = parts
            self.log[partition] = records
        self.durable: dict[Partition, int] = dict.fromkeys(PARTITIONS, 0)
        self.outcomes: dict[tuple[Partition, int], set[int]] = {}
        self.trackers = [tracker_of(P), tracker_of(Q)]
        self.owner = {P: 0, Q: 1}
        self.term = dict.fromkeys(PARTITIONS, 0)  # counts the assignments: what a broker fences by
        self.position = dict.fromkeys(PARTITIONS, 0)
        self.flying: list[tuple[int, Ticket, int]] = []  # worker, ticket, part
        self.given: dict[Partition, dict[int, Ticket]] = {P: {}, Q: {}}  # to the owner, in this term
        self.commits: list[Commit] = []

    @rule(partition=st.sampled_from(PARTITIONS), count=st.integers(1, 4))
    def deliver(self, partition: Partition, count: int) -> None:
        worker = self.owner[partition]
        coming = [offset for offset in self.log[partition] if offset >= self.position[partition]]
        for offset in coming[:count]:
            parts = self.log[partition][offset]
            assert (
                self.trackers[1 - worker].begin(partition, offset, parts) is None
            )  # fetched before a revoke
            ticket = self.trackers[worker].begin(partition, offset, parts)
            assert ticket is not None
            kept = {at: one for at, one in self.given[partition].items() if at < offset}
            self.given[partition] = {**kept, offset: ticket}
            self.position[partition] = offset + 1
            self.flying += [(worker, ticket, part) for part in range(parts)]

    @precondition(lambda self: self.flying)
    @rule(picks=st.lists(st.integers(0, 63), min_size=1, max_size=4))
    def finish(self, picks: list[int]) -> None:
        for pick in picks[: len(self.flying)]:
            self._finish(self.flying[pick % len(self.flying)])

    @rule(worker=st.integers(0, 1))
    def send_commit(self, worker: int) -> None:
        offsets = self.trackers[worker].committable()
        self.commits.append(Commit(worker, offsets, {name: self.term[name] for name in offsets}))

    @precondition(lambda self: self.commits)
    @rule(fate=st.sampled_from(["answered", "answer lost", "never arrived"]))
    def end_commit(self, fate: str) -> None:
        """A commit of an assignment that is over is refused, as the broker does by its generation."""
        commit = self.commits.pop(0)
        if fate == "never arrived" or any(self.term[name] != term for name, term in commit.terms.items()):
            return
        self.durable.update(commit.offsets)
        if fate == "answered":
            self.trackers[commit.worker].committed(commit.offsets)

    @rule(partition=st.sampled_from(PARTITIONS), drained=st.booleans(), committed=st.booleans())
    def rebalance(self, partition: Partition, drained: bool, committed: bool) -> None:
        """The partition moves; unless drained, its records in flight go on and finish late."""
        old = self.owner[partition]
        if drained:
            for item in [item for item in self.flying if item[1].partition == partition]:
                self._finish(item)
        if committed:
            self.durable.update(self.trackers[old].committable([partition]))
        self.trackers[old].revoke([partition])
        self.owner[partition] = 1 - old
        self.trackers[1 - old].assign([partition])
        self._restart(partition)

    @rule(partition=st.sampled_from(PARTITIONS), back=st.integers(1, 12), count=st.integers(1, 4))
    def deliver_again(self, partition: Partition, back: int, count: int) -> None:
        """The client goes back, while the first delivery may still be in flight."""
        self.position[partition] = max(0, self.position[partition] - back)
        self.deliver(partition, count)

    @rule(worker=st.integers(0, 1))
    def crash(self, worker: int) -> None:
        self.flying = [item for item in self.flying if item[0] != worker]
        self.commits = [commit for commit in self.commits if commit.worker != worker]
        mine = [partition for partition in PARTITIONS if self.owner[partition] == worker]
        self.trackers[worker] = tracker_of(*mine)
        for partition in mine:
            self._restart(partition)

    def _finish(self, item: tuple[int, Ticket, int]) -> None:
        """The outcome is durable, and then the worker is told."""
        worker, ticket, part = item
        self.flying.remove(item)
        self.outcomes.setdefault((ticket.partition, ticket.offset), set()).add(part)
        self.trackers[worker].part_done(ticket)

    def _restart(self, partition: Partition) -> None:
        """Whoever owns it now reads on from what is committed."""
        self.term[partition] += 1
        self.given[partition] = {}
        self.position[partition] = self.durable[partition]

    @invariant()
    def a_committed_record_has_all_its_outcomes(self) -> None:
        for partition, records in self.log.items():
            for offset, parts in records.items():
                if offset < self.durable[partition]:
                    assert self.outcomes.get((partition, offset), set()) == set(range(parts))

    @invariant()
    def the_watermark_is_that_of_the_model(self) -> None:
        """No less than could be committed, and no more."""
        for partition, given in self.given.items():
            unfinished = {id(ticket) for _, ticket, _ in self.flying}
            waiting = [offset for offset, ticket in given.items() if id(ticket) in unfinished]
            expected = min(waiting, default=max(given) + 1 if given else None)
            assert self.trackers[self.owner[partition]].watermark(partition) == expected
            assert self.trackers[1 - self.owner[partition]].watermark(partition) is None

    def teardown(self) -> None:
        """After whatever happened, working on without faults gives every record its outcomes."""
        if not hasattr(self, "log"):
            return
        while self.commits:
            self.end_commit("answer lost")
        for partition, records in self.log.items():
            self.deliver(partition, len(records))
        for item in list(self.flying):
            self._finish(item)
        for worker in (0, 1):
            self.send_commit(worker)
        while self.commits:
            self.end_commit("answered")
        for partition, records in self.log.items():
            assert self.durable[partition] == max(records) + 1
            for offset, parts in records.items():
                assert self.outcomes.get((partition, offset), set()) == set(range(parts))


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
