"""What people and programs ask of the database: the review queue, dead letters, outcomes of uploads.

docs/queries.sql holds the questions that are asked by hand; `named_queries` reads it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from stream.database import connect, transaction
from stream.errors import PixassayError
from stream.letters import EVERY, Wanted, listing
from stream.tables import dead_letters, verdicts

_HERE = Path(__file__).resolve().parent
Row = Mapping[str, Any]
Key = tuple[str, str]  # tenant, upload_id


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One question of docs/queries.sql. In `sql`, psql's :'name' stands for a value."""

    name: str
    question: str
    sql: str

    @property
    def bindable(self) -> str:
        """The SQL with :name for each value, as SQLAlchemy's text() takes it."""
        return re.sub(r":'(\w+)'", r":\1", self.sql)


def named_queries() -> dict[str, NamedQuery]:
    """The questions of docs/queries.sql, by name and in their order there."""
    packed = _HERE / "queries.sql"
    text = (packed if packed.is_file() else _HERE.parent / "docs" / "queries.sql").read_text("utf-8")
    pattern = re.compile(r"^-- name: (\w+)\n-- (.+)\n((?:(?!-- name:).*\n)+)", re.MULTILINE)
    found = (NamedQuery(name, question, sql.strip()) for name, question, sql in pattern.findall(text))
    return {query.name: query for query in found}


class History:
    """Reads what was stored. Every method raises Outage or ConfigError."""

    def __init__(self, database_url: str) -> None:
        self._engine = connect(database_url)

    def named(self, name: str, **values: str) -> list[Row]:
        """The answer to one question of docs/queries.sql."""
        return self._rows(sa.text(named_queries()[name].bindable), values)

    def review_queue(self, limit: int, tenant: str | None = None) -> list[Row]:
        """Flagged uploads that wait for a decision, the most suspected first."""
        query = sa.select(sa.text("*")).select_from(sa.table("review_queue"))
        if tenant is not None:
            query = query.where(sa.column("tenant", sa.Text) == tenant)
        return self._rows(query.order_by(sa.column("score").desc()).limit(limit))

    def verdict(self, verdict_id: UUID) -> Row:
        """One verdict. Raises PixassayError where there is none of that id."""
        rows = self._rows(sa.select(verdicts).where(verdicts.c.verdict_id == verdict_id))
        if not rows:
            raise PixassayError(
                f"there is no verdict {verdict_id}; `pixassay review next` lists those that wait"
            )
        return rows[0]

    def of_uploads(self, tenant: str, uploads: Iterable[str], bundle: str) -> list[Row]:
        """The verdicts that one bundle gave on these uploads, those that are there."""
        ids = sa.any_(sa.bindparam("ids", list(uploads), ARRAY(sa.Text)))
        chosen = (verdicts.c.tenant == tenant, verdicts.c.upload_id == ids, verdicts.c.bundle == bundle)
        return self._rows(sa.select(verdicts).where(*chosen))

    def dead_letters(self, limit: int, wanted: Wanted = EVERY, before: int | None = None) -> list[Row]:
        """Dead letters without their values, the newest first; of those below the id `before`."""
        return self._rows(listing(wanted, limit, before))

    def outcomes_since(self, tenant: str, upload_id: str, letter: int) -> list[Row]:
        """What became of an upload, but for dead letters up to this id: rows of at, outcome, detail."""
        return self._rows(_OUTCOMES, {"tenant": tenant, "upload_id": upload_id, "letter": letter})

    def verdict_counts(self, uploads: Iterable[Key]) -> dict[Key, int]:
        """How many rows an upload has from one bundle (the most, if several judged it): more than 1 is wrong.

        An upload without any row is left out.
        """
        wanted = list(set(uploads))
        values = {"tenants": [tenant for tenant, _ in wanted], "ids": [upload for _, upload in wanted]}
        return {(row["tenant"], row["upload_id"]): row["rows"] for row in self._rows(_COUNTS, values)}

    def letters(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, set[str]]:
        """Dead letters from these offsets: offset -> the parts of the record that they are of."""
        query = sa.select(dead_letters.c.offset, dead_letters.c.item).where(
            dead_letters.c.topic == topic,
            dead_letters.c.partition == partition,
            dead_letters.c.offset == sa.any_(sa.bindparam("offsets", list(offsets), ARRAY(sa.BigInteger))),
        )
        found: dict[int, set[str]] = {}
        for row in self._rows(query):
            found.setdefault(row["offset"], set()).add(row["item"])
        return found

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _rows(self, query: sa.Executable, values: Mapping[str, Any] | None = None) -> list[Row]:
        with transaction(self._engine) as connection:
            found = connection.execute(query, values or {}).mappings()
            # Plain str: SQLAlchemy's quoted names are a kind of their own, which JSON writers refuse.
            return [{str(name): value for name, value in row.items()} for row in found]


_OUTCOMES = sa.text(
    """
    SELECT decided_at AS at, 'verdict ' || verdict AS outcome, 'bundle ' || bundle AS detail
    FROM verdicts
    WHERE tenant = :tenant AND upload_id = :upload_id
    UNION ALL
    SELECT died_at, 'dead letter ' || id, reason || ': ' || detail
    FROM dead_letters
    WHERE tenant = :tenant AND upload_id = :upload_id AND id > :letter
    ORDER BY at
    """
)

# Lateral, so that each upload is looked up in the index, however the planner guesses the sizes.
_COUNTS = sa.text(
    """
    SELECT wanted.tenant, wanted.upload_id, most.rows
    FROM unnest(CAST(:tenants AS text[]), CAST(:ids AS text[])) AS wanted (tenant, upload_id)
    CROSS JOIN LATERAL (
        SELECT max(by_bundle.rows) AS rows
        FROM (
            SELECT count(*) AS rows
            FROM verdicts
            WHERE verdicts.tenant = wanted.tenant AND verdicts.upload_id = wanted.upload_id
            GROUP BY bundle
        ) AS by_bundle
    ) AS most
    WHERE most.rows IS NOT NULL
    """
)
