"""Work on dead letters: choose them, send them in again, drop them. None is ever deleted here.

A letter is `open` until it is sent in again (`replayed`) or given up by a person (`dropped`). What is sent in
again is an upload like any other: it ends with a verdict, or with a new dead letter of its new place.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from stream.database import connect, transaction
from stream.erasure import erased_keys, erased_uploads
from stream.errors import BadRecord, PixassayError
from stream.events import Label, Upload, parse_label, parse_record, upload_key
from stream.tables import dead_letters

State = Literal["open", "replayed", "dropped"]
Row = Mapping[str, Any]
Publish = Callable[[str, Sequence[tuple[bytes, bytes]]], None]  # topic, records

_BATCH = 100  # letters a transaction: each may hold a record of a megabyte

NO_VALUE = "no value of it is kept"
UNREADABLE = "this release cannot read it either"
ERASED = "it was erased"

_state = sa.case(
    (dead_letters.c.dropped_at.is_not(None), "dropped"),
    (dead_letters.c.replayed_at.is_not(None), "replayed"),
    else_="open",
).label("state")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters: those for which all that is given holds. Times are of `died_at`."""

    ids: tuple[int, ...] = ()
    reason: str | None = None
    tenant: str | None = None
    since: datetime | None = None  # from this moment on
    until: datetime | None = None  # before this moment
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    states: frozenset[State] = frozenset()

    @property
    def everything(self) -> bool:
        """Whether nothing but a state is asked for."""
        return self == Wanted(states=self.states)

    def clauses(self) -> Iterator[sa.ColumnElement[bool]]:
        """For WHERE."""
        row = dead_letters.c
        if self.ids:
            yield row.id.in_(self.ids)
        if self.since is not None:
            yield row.died_at >= self.since
        if self.until is not None:
            yield row.died_at < self.until
        if self.states:
            yield _state.element.in_(self.states)
        for name in ("reason", "tenant", "topic", "partition", "offset"):
            if (value := getattr(self, name)) is not None:
                yield row[name] == value


EVERY = Wanted()


def listing(wanted: Wanted, limit: int, before: int | None = None) -> sa.Select[Any]:
    """Dead letters without their values, the newest first; of those below the id `before`."""
    columns = [column for column in dead_letters.c if column.name != "raw"]
    query = sa.select(*columns, _state).where(*wanted.clauses())
    if before is not None:
        query = query.where(dead_letters.c.id < before)
    return query.order_by(dead_letters.c.id.desc()).limit(limit)


@dataclass(slots=True)
class Replay:
    """What was sent in again, or would be."""

    sent: int = 0  # dead letters
    by_reason: Counter[str] = field(default_factory=Counter)  # of those
    left_out: Counter[str] = field(default_factory=Counter)  # why -> how many


class Letters:
    """The table of dead letters. Every method raises Outage or ConfigError."""

    def __init__(self, database_url: str, labels_topic: str, uploads_topic: str) -> None:
        self._engine = connect(database_url)
        self._labels, self._uploads = labels_topic, uploads_topic

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def one(self, number: int) -> Row:
        """A dead letter with its value. Raises PixassayError where there is none of that id."""
        with transaction(self._engine) as connection:
            query = sa.select(dead_letters, _state).where(dead_letters.c.id == number)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise _none_of(number)
        return {str(name): value for name, value in row.items()}

    def check(self, ids: Sequence[int], fit: frozenset[State]) -> None:
        """Raises PixassayError where one of these does not exist, or is in another state."""
        with transaction(self._engine) as connection:
            query = sa.select(dead_letters.c.id, _state).where(dead_letters.c.id.in_(ids))
            found = {row.id: row.state for row in connection.execute(query)}
        for number in ids:
            if number not in found:
                raise _none_of(number)
            if found[number] not in fit:
                raise PixassayError(_UNFIT[found[number]].format(number))

    def count(self, wanted: Wanted) -> int:
        """How many there are."""
        query = sa.select(sa.func.count()).select_from(dead_letters).where(*wanted.clauses())
        with transaction(self._engine) as connection:
            return int(connection.scalar(query) or 0)

    def replay(self, wanted: Wanted, limit: int, publish: Publish | None) -> Replay:
        """Publish the records of at most `limit` letters again, the oldest first, and note it on each.

        Safe at any time and twice: an upload that has its verdict keeps it. Where it is cut short, the
        letters of one batch may have been published without the note. Without `publish` it only looks.
        """
        done, last, newest = Replay(), 0, self._newest()
        while limit > 0:
            with transaction(self._engine) as connection:
                rows = _next(connection, wanted, (last, newest), min(limit, _BATCH), lock=publish is not None)
                if not rows:
                    break
                fit = self._sort(connection, rows, done)
                if publish is not None:
                    self._publish(fit, publish)
                    _note(connection, fit)
            limit, last = limit - len(rows), rows[-1]["id"]
        return done

    def drop(self, wanted: Wanted, limit: int, by: str, why: str) -> int:
        """Note on at most `limit` letters, the oldest first, that they are given up; how many."""
        row = dead_letters.c
        open_ones = replace(wanted, states=frozenset({"open", "replayed"}))
        chosen = sa.select(row.id).where(*open_ones.clauses()).order_by(row.id).limit(limit).with_for_update()
        note = {"dropped_at": sa.func.now(), "dropped_by": by, "dropped_why": why}
        with transaction(self._engine) as connection:
            return connection.execute(sa.update(dead_letters).where(row.id.in_(chosen)).values(note)).rowcount

    def _newest(self) -> int:
        """What is sent in again may die again at once: such a letter is not of this run."""
        with transaction(self._engine) as connection:
            return int(connection.scalar(sa.select(sa.func.max(dead_letters.c.id))) or 0)

    def _sort(self, connection: sa.Connection, rows: Sequence[Row], done: Replay) -> list[Row]:
        """Count why some cannot be sent; the others."""
        read = {row["id"]: self._read(row) for row in rows}
        told = [item for item in read.values() if isinstance(item, Upload | Label)]
        gone = erased_uploads(connection, [item for item in told if isinstance(item, Upload)])
        gone |= erased_keys(connection, [_key(item) for item in told if isinstance(item, Label)])
        fit = list[Row]()
        for row in rows:
            item = read[row["id"]]
            if isinstance(item, str):
                done.left_out[item] += 1
            elif _key(item) in gone:
                done.left_out[ERASED] += 1
            else:
                done.sent += 1
                done.by_reason[row["reason"]] += 1
                fit.append({**row, "key": upload_key(*_key(item))})
        return fit

    def _read(self, row: Row) -> Upload | Label | str:
        """What the record says, or why it cannot be sent."""
        if not row["raw"]:
            return NO_VALUE
        if row["topic"] == self._labels:
            try:
                return parse_label(row["raw"])
            except BadRecord:
                return UNREADABLE
        found = [item for item in parse_record(row["raw"]) if isinstance(item, Upload)]
        own = [item for item in found if row["upload_id"] in (None, item.upload_id)]
        return own[0] if own else UNREADABLE

    def _publish(self, letters: Sequence[Row], publish: Publish) -> None:
        for topic, ours in ((self._labels, True), (self._uploads, False)):
            chosen = [row for row in letters if (row["topic"] == self._labels) is ours]
            if chosen:
                publish(topic, [(row["key"], row["raw"]) for row in chosen])


_UNFIT: dict[State, str] = {
    "dropped": "dead letter {0} was dropped; `pixassay dead show {0}` says by whom and why",
    "replayed": "dead letter {0} was sent in again before; --again does it once more",
}


def _none_of(number: int) -> PixassayError:
    return PixassayError(f"there is no dead letter {number}; `pixassay dead list` shows those that there are")


def _key(item: Upload | Label) -> tuple[str, str]:
    return item.tenant, item.upload_id


def _next(
    connection: sa.Connection, wanted: Wanted, between: tuple[int, int], count: int, *, lock: bool
) -> list[Row]:
    row, (last, newest) = dead_letters.c, between
    query = sa.select(row.id, row.topic, row.upload_id, row.reason, row.raw)
    query = query.where(*wanted.clauses(), row.id > last, row.id <= newest).order_by(row.id).limit(count)
    found = connection.execute(query.with_for_update() if lock else query).mappings()
    return [{str(name): value for name, value in one.items()} for one in found]


def _note(connection: sa.Connection, letters: Sequence[Row]) -> None:
    row = dead_letters.c
    noted = {"replayed_at": sa.func.now(), "replays": row.replays + 1}
    chosen = row.id.in_([letter["id"] for letter in letters])
    connection.execute(sa.update(dead_letters).where(chosen).values(noted))
