"""What the audit asks of the database: outcomes of uploads, erasures, flags."""

from collections.abc import Iterable

import sqlalchemy as sa

from stream.database import transaction
from stream.erasure import erased_uploads
from stream.events import Upload
from stream.queries import History, Key


class Ledger(History):
    """The history, with what only the audit wants to know. Every method raises Outage or ConfigError."""

    def erased(self, uploads: Iterable[Upload]) -> set[Key]:
        """Those of the uploads that were erased, and so must have no outcome."""
        with transaction(self._engine) as connection:
            return erased_uploads(connection, uploads)

    def flagged(self, uploads: Iterable[Key]) -> dict[Key, str]:
        """Those of the uploads whose newest verdict is flagged, with the verdict's id."""
        wanted = list(set(uploads))
        values = {"tenants": [tenant for tenant, _ in wanted], "ids": [upload for _, upload in wanted]}
        rows = self._rows(_FLAGGED, values)
        return {(row["tenant"], row["upload_id"]): str(row["verdict_id"]) for row in rows}


# Lateral, so that each upload is looked up in the index, however the planner guesses the sizes.
_FLAGGED = sa.text(
    """
    SELECT wanted.tenant, wanted.upload_id, newest.verdict_id
    FROM unnest(CAST(:tenants AS text[]), CAST(:ids AS text[])) AS wanted (tenant, upload_id)
    CROSS JOIN LATERAL (
        SELECT verdict_id, verdict
        FROM verdicts
        WHERE verdicts.tenant = wanted.tenant AND verdicts.upload_id = wanted.upload_id
        ORDER BY decided_at DESC
        LIMIT 1
    ) AS newest
    WHERE newest.verdict IN ('suspicious', 'synthetic')
    """
)
